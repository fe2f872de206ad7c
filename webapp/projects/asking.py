"""Speak with a remote before there is a project: is this URL taken, and which branches does it have?"""

from flask import current_app

from webapp.auth.actor import Actor
from webapp.errors import Conflict, Invalid
from webapp.projects import credentials, hosts, operations
from webapp.projects.credential_schemas import NewCredential
from webapp.projects.credentials import Given
from webapp.projects.rules import TOOL, url_problem
from webapp.projects.schemas import BranchesWish, InlineCredential, Remote
from webapp.tasks import service as tasks
from webapp.workers import tools


def check_remote(actor: Actor, wish: Remote, project_id: str | None = None) -> None:
    """Raises Invalid for a URL that isn't taken, or a credential that doesn't open it. `project_id`: whose own it may be."""
    settings = current_app.config["SETTINGS"]
    if problem := url_problem(wish.git_url, settings.allowed_schemes):
        raise Invalid(problem, "git_url")
    if wish.credential_id:
        credentials.checked(actor, wish.credential_id, wish.git_url, project_id)


def named(wish: InlineCredential, url: str, name: str, project_id: str | None = None) -> NewCredential:
    """A credential that was typed in with a URL: for its host."""
    return NewCredential(name=name, host=hosts.host_of(url), project_id=project_id, **wish.model_dump())


def branches(actor: Actor, wish: BranchesWish, retry_of: str | None = None) -> str:
    """Have a worker ask a remote for its branches and tags. Returns the task's id; the answer is its result's data."""
    check_remote(actor, wish)
    operations.worker_named(actor, wish.worker_id)
    given = _typed(actor, wish.credential, wish.git_url) if wish.credential else None
    return ask(actor, wish.git_url, wish.worker_id, wish.credential_id, given, retry_of)


def ask(
    actor: Actor,
    url: str,
    worker_id: str,
    credential_id: str | None = None,
    given: Given | None = None,
    retry_of: str | None = None,
) -> str:
    """The same, once all of it is checked."""
    value = {"operation": "branches", "url": url}
    value |= {"credential_id": credential_id} if credential_id else {}
    wish = operations.submission(
        "branches", {**value, **({"credential": given} if given else {})}, worker_id, url
    )
    return tasks.make(actor, wish, retry_of)


def _typed(actor: Actor, said: InlineCredential, url: str) -> Given:
    tool = tools.schema_of(actor.organisation_id, TOOL)
    marked = tool is not None and tool.schema.get("properties", {}).get("credential", {}).get("x-secret")
    if not marked:  # what an agent declares decides what is stored in the open
        raise Conflict("The agents here don’t know how to keep this credential secret. Update them.")
    return credentials.typed(named(said, url, "typed in"))
