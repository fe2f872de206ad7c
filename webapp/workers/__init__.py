"""Workers, keys, join tokens, sync."""

from flask import Flask


def init_app(app: Flask) -> None:
    from webapp import templating
    from webapp.api import pages as api_pages
    from webapp.live import views as live
    from webapp.workers import announce_pages as _  # noqa: F401 - its routes hang on the blueprint of pages
    from webapp.workers import api, control_api, join_pages, key_api, listing, pages, release_api
    from webapp.workers import drain_pages as _drains  # noqa: F401 - as above
    from webapp.workers import key_pages as _keys  # noqa: F401 - as above

    templating.counters["pending"] = listing.pending_count
    api_pages.known_ids["WORKER_ID"] = listing.first_id
    for view in (pages.WORKERS, pages.worker_view(), join_pages.ADD):
        live.register(view)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(control_api.blueprint)
    app.register_blueprint(control_api.plain_blueprint)
    app.register_blueprint(key_api.blueprint)
    app.register_blueprint(release_api.blueprint)
    app.register_blueprint(release_api.plain_blueprint)
    app.register_blueprint(pages.blueprint)
