"""Projects: git repositories placed on workers. The control plane never runs git."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # the settings know this package's rules, and whoever reads them needs no more
    from flask import Flask

Hook = TypeVar("Hook")


def init_app(app: Flask) -> None:
    from webapp.live import views as live
    from webapp.projects import (
        agent_api,
        api,
        change_pages,
        clone_pages,
        credential_api,
        credential_pages,
        pages,
        project_pages,
        webhook_api,
        webhook_pages,
    )
    from webapp.workers import pages as worker_pages

    _answer_lower_domains()
    worker_pages.add_panel(pages.WORKER_PANEL)
    _fill(project_pages.parts, change_pages.PART)
    for view in (pages.PROJECTS, project_pages.PROJECT, clone_pages.CLONE):
        live.register(view)
    for module in (api, agent_api, pages, credential_api, credential_pages, webhook_api, webhook_pages):
        app.register_blueprint(module.blueprint)


def _answer_lower_domains() -> None:
    """What tasks and workers ask without knowing whom."""
    from webapp.projects import credentials, data, listing, placing, service, settling
    from webapp.projects.rules import TOOL, USE_INSTEAD
    from webapp.tasks import dashboard, ending, queue
    from webapp.tasks import data as task_data
    from webapp.tasks import service as tasks
    from webapp.workers import service as workers

    tasks.makers[TOOL] = tasks.Maker(USE_INSTEAD, service.again)
    tasks.check_project = credentials.check_project
    placing.answer_tasks()
    _fill(task_data.additions, data.addition)
    _fill(queue.after_start, settling.begun)
    _fill(ending.after_finish_in_project, settling.ended)
    _fill(workers.after_revoke, settling.worker_revoked)
    _fill(workers.before_remove, settling.worker_removed)
    _fill(dashboard.others_ask, listing.asks)


def _fill(hooks: list[Hook], hook: Hook) -> None:
    """Once, however many apps a process makes."""
    if hook not in hooks:
        hooks.append(hook)
