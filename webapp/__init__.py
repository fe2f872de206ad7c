"""The control plane: pages for people, an API for agents and programs, the database, the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from webapp.config import Settings

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> Flask:
    """The app, whole. Settings come from the environment unless a test brings its own.

    Everything is imported here, so that the supervisor, which needs none of it, stays small.
    """
    from pathlib import Path

    from flask import Flask
    from werkzeug.middleware.proxy_fix import ProxyFix

    from webapp import (
        api,
        auth,
        cli,
        config,
        database,
        errors,
        instance,
        journal,
        live,
        projects,
        routing,
        security,
        tasks,
        templating,
        workers,
    )
    from webapp.extensions import csrf, db, limiter, login, migrate, sock

    settings = settings or config.load()
    secret_key = instance.prepare(settings)
    app = Flask(
        __name__,
        instance_path=str(settings.instance_path),
        template_folder=str(config.REPOSITORY / "templates"),
        static_folder=str(config.REPOSITORY / "static"),
    )
    app.config.from_mapping(config.flask_config(settings, secret_key))
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]

    journal.init_app(app)
    routing.init_app(app)
    errors.register(app)
    security.init_app(app)
    database.init_app(app)
    migrate.init_app(app, db, directory=str(Path(__file__).parent / "migrations"))
    login.init_app(app, add_context_processor=False)  # it would ask the database for the error page too
    csrf.init_app(app)
    limiter.init_app(app)
    sock.init_app(app)

    for part in (live, auth, workers, tasks, projects, api, templating, cli):
        part.init_app(app)
    return app
