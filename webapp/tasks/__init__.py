"""Tasks, attempts, queue, rules, logs. Fills the hooks that the domains below offer."""

from flask import Flask


def init_app(app: Flask) -> None:
    from webapp import templating
    from webapp.api import pages as api_pages
    from webapp.live import views as live
    from webapp.tasks import (
        agent_api,
        api,
        exchange,
        list_pages,
        listing,
        lock_api,
        lock_pages,
        lost,
        pages,
        refusals,
        task_pages,
        waiting,
    )
    from webapp.tasks import new_pages as _  # noqa: F401 - its routes hang on the blueprint of pages
    from webapp.workers import pages as worker_pages
    from webapp.workers import service, state, sync

    sync.exchange = exchange.exchange
    state.busy_with = waiting.held_counts
    if lost.release_worker not in service.after_revoke:
        service.after_revoke.append(lost.release_worker)
        service.after_revoke.append(refusals.forget)
        service.after_new_policy.append(refusals.forget)
    templating.counters["running"] = listing.running_count
    api_pages.known_ids["TASK_ID"] = listing.newest_id
    worker_pages.add_panel(pages.WORKER_PANEL)
    for view in (pages.DASHBOARD, list_pages.TASKS, task_pages.TASK, lock_pages.LOCKS):
        live.register(view)
    for module in (api, agent_api, lock_api, pages):
        app.register_blueprint(module.blueprint)
