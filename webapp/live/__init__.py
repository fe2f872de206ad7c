"""Events, wake-ups, and the sockets that carry them."""

from flask import Flask


def init_app(app: Flask) -> None:
    from webapp.live import pages

    app.register_blueprint(pages.blueprint)
