"""How the agent's program ends; docs/agent.md says it to people."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
# The server refuses to enrol it, `doctor` found a problem, or a command was not carried out.
REFUSED: Final = 1
BAD_CONFIG: Final = 2
IN_USE: Final = 3  # another agent uses the storage
INTERRUPTED: Final = 130  # by Ctrl-C, before it was done
# Of `status` alone.
NOT_RUNNING: Final = 4
NOT_CONNECTED: Final = 5
