"""The public Python package of GarageSwarm: the vocabulary of events."""

__version__ = "0.1.0"
