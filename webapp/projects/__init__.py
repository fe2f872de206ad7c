"""Projects: git repositories placed on workers. The control plane never runs git."""

from flask import Flask


def init_app(app: Flask) -> None:
    from webapp.projects import models as _  # noqa: F401 - its tables belong to the schema
