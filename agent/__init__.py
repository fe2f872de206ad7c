"""The program that runs on somebody's machine: it asks for work, runs it, and reports."""

__version__ = "0.1.0"
# Of the wire: what this agent and a server say to each other. A server serves the one before its own, too.
PROTOCOL = 2
