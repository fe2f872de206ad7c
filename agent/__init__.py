"""The program that runs on somebody's machine: it asks for work, runs it, and reports."""

__version__ = "0.1.0"
