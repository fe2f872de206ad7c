"""Users, organisations, roles, sessions, API tokens, audit."""

from flask import Flask


def init_app(app: Flask) -> None:
    from webapp.auth import pages, settings_pages

    app.register_blueprint(pages.blueprint)
    app.register_blueprint(settings_pages.blueprint)
