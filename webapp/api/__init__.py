"""What the API's routes share. The blueprint under which every domain hangs its own."""

from flask import Blueprint, Flask

from webapp.extensions import csrf

PREFIX = "/api/v1"


def blueprint(name: str, import_name: str) -> Blueprint:
    """A blueprint of the API: keys only, so no CSRF."""
    made = Blueprint(name, import_name, url_prefix=PREFIX)
    csrf.exempt(made)
    return made


def init_app(app: Flask) -> None:
    from webapp.api import health, models, pages  # noqa: F401 - its tables are created with the others

    for made in (health.blueprint, pages.document_blueprint, pages.blueprint):
        app.register_blueprint(made)
