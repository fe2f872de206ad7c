"""`python -m agent`: arguments, logging, exit codes.

Exit codes: 0 done as asked; 1 refused: the server doesn't enrol it, `doctor` found a problem, or a command was not carried
out; 2 a setting is wrong; 3 another agent uses the storage; 130 Ctrl-C, before it was done. Of `status` alone: 4 no agent
runs, 5 one runs and isn't connected.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from agent import commands, exits
from agent.errors import BadConfig, Stop
from agent.terminal import one_line, printable

log = logging.getLogger("agent")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname, "message": record.getMessage()}
        for name in ("task_id", "attempt_id"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Lines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


def main(arguments: Sequence[str]) -> int:
    _start_logging()
    try:
        chosen = commands.parse(arguments)
        return commands.action(chosen)(chosen, os.environ)
    except BadConfig as error:
        return _refuse(str(error), exits.BAD_CONFIG)
    except Stop as error:
        return _refuse(str(error), error.code)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _refuse(text: str, code: int) -> int:
    sys.stderr.write(f"agent: {printable(text)}\n")
    return code


def _start_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    is_json = os.environ.get("AGENT_LOG") == "json"
    handler.setFormatter(JsonLines() if is_json else Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def start() -> NoReturn:
    """Where the program begins, also that of agent.pyz."""
    status = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads wait for the server; Python would stop them in an orderly way first, and may hang on it.
    os._exit(status)


if __name__ == "__main__":
    start()
