"""JSON logs on stderr, one object a line, quiet when all is well."""

import logging
import sys

from flask import Flask
from pythonjsonlogger.json import JsonFormatter

NAME = "garageswarm"


def init_app(app: Flask) -> None:
    configure(app.config["SETTINGS"].log_level)


def configure(level: str) -> None:
    """Once a process, however many apps a test makes in it."""
    root = logging.getLogger()
    if not any(handler.get_name() == NAME for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.set_name(NAME)
        handler.setFormatter(
            JsonFormatter(
                "{asctime}{levelname}{name}{message}",
                style="{",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
        root.addHandler(handler)
    logging.getLogger("webapp").setLevel(level)
    root.setLevel("WARNING")
