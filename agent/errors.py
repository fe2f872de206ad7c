"""What ends a command with one line for a person."""

from __future__ import annotations


class BadConfig(Exception):
    """A setting that can't be used; the message is one line for a person."""


class Stop(Exception):
    """The command can't do what it was asked to. `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NoCheckout(Exception):
    """The project of a task isn't on this machine: the task's trouble, not the machine's."""
