"""What happens when a remote calls a webhook: once for each delivery, with the rights that its maker has today.

Whoever calls has signed the body with the webhook's secret (GitHub, Gitea, anybody) or shows it (GitLab). Whatever is
wrong gets the same answer after the same work, so that nobody finds out which webhooks there are.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Row, Text, bindparam, delete, insert, select, tuple_, type_coerce, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from webapp import clock, security
from webapp.auth import audit
from webapp.auth import service as people
from webapp.auth.actor import Actor, system
from webapp.database import run, table_of, transaction
from webapp.errors import GarageError, Invalid, NotSignedIn
from webapp.extensions import db
from webapp.projects import access, operations, pushes
from webapp.projects.models import Checkout, Delivery, Project, Webhook
from webapp.projects.webhooks import PREFIX
from webapp.tasks.models import Task

KEPT = timedelta(days=30)
BATCH = 500
SAID_LONGEST = 500

_hooks, _deliveries = table_of(Webhook), table_of(Delivery)
_FIND = select(
    _hooks.c.id,
    _hooks.c.organisation_id,
    _hooks.c.project_id,
    _hooks.c.created_by,
    _hooks.c.created_by_id,
    type_coerce(_hooks.c.secret, Text).label("secret"),  # as it is stored: what isn't there is decrypted, too
).where(_hooks.c.id == bindparam("webhook_id"))
_MINE = (
    _deliveries.c.webhook_id == bindparam("whose"),
    _deliveries.c.delivery_id == bindparam("which"),
)
_TAKE = insert(_deliveries)
_REMEMBERED = select(_deliveries.c.said, _deliveries.c.is_refused).where(*_MINE)
_SAY = update(_deliveries).where(*_MINE)


class CallRefused(NotSignedIn):
    """There is no such webhook, or the call isn’t signed with its secret. Compare the address and the secret."""


@dataclass(frozen=True)
class Call:
    """What a remote sent. `signature` is HMAC-SHA256 of the body in hex, with or without `sha256=`; GitLab sends `token`."""

    webhook_id: str
    body: bytes
    content_type: str = ""
    signature: str = ""
    token: str = ""
    delivery_id: str = ""
    event: str = "push"
    address: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a delivery, in words for people. `is_refused`: its maker may no longer pull here."""

    said: str
    is_refused: bool = False


def call_of(webhook_id: str, body: bytes, headers: Mapping[str, str], address: str) -> Call:
    """By the headers of those who call: GitHub (also Gitea, Forgejo), GitLab, or a program of one's own."""
    said = {name.lower(): value for name, value in headers.items()}
    signature = said.get("x-hub-signature-256") or said.get("x-gsw-signature-256") or ""
    # GitLab sends the same key with each retry of a delivery; older ones have only the event's.
    gitlab_id = said.get("idempotency-key") or said.get("x-gitlab-event-uuid")
    delivery_id = said.get("x-github-delivery") or said.get("x-gsw-delivery") or gitlab_id or ""
    event = said.get("x-github-event") or said.get("x-gitlab-event") or "push"
    return Call(
        webhook_id,
        body,
        said.get("content-type", ""),
        signature.strip().removeprefix("sha256=").lower(),
        said.get("x-gitlab-token", ""),
        delivery_id.strip(),
        event,
        address,
    )


def receive(call: Call) -> Outcome:
    """Do what the call asks for, once. Raises CallRefused, or Invalid where the delivery has no usable id."""
    hook = _genuine(call)
    if not _DELIVERY_ID.fullmatch(call.delivery_id):
        raise Invalid(
            "Send an id of the delivery, 1 to 100 printable characters, another one for each: X-GSW-Delivery.",
            "X-GSW-Delivery",
        )
    mine = {"whose": hook.id, "which": call.delivery_id}
    with transaction():
        # Before the delivery's row, which holds on to its webhook's: who removes a project takes them in this order too.
        project = access.find_locked(hook.project_id)
        if project is None:
            raise CallRefused
        if not _take(hook, call):
            return _remembered(mine)
        outcome = _act(hook, call, project)
        outcome = Outcome(outcome.said[:SAID_LONGEST], outcome.is_refused)
        run(_SAY.values(said=outcome.said, is_refused=outcome.is_refused), **mine)
        operations.tell(project)
    return outcome


_DELIVERY_ID = re.compile("[!-~]{1,100}")


def _genuine(call: Call) -> Row[Any]:
    """The webhook, where the call was made with its secret. Raises CallRefused."""
    hook = run(_FIND, webhook_id=call.webhook_id).first()
    secret = security.keyring().decrypt(hook.secret if hook else _decoy())
    signature = hmac.new(secret.encode(), call.body, hashlib.sha256).hexdigest()
    is_signed = security.same(call.signature, signature)
    is_shown = security.same(call.token, secret)
    if hook is None or not (is_signed or is_shown):
        raise CallRefused
    return hook


def _decoy() -> str:
    """Ciphertext of a secret that nobody has: what isn't there takes as long as what is."""
    kept: dict[str, Any] = current_app.extensions
    if "hook_decoy" not in kept:
        kept["hook_decoy"] = security.keyring().encrypt(security.new_token(PREFIX).text)
    return str(kept["hook_decoy"])


def _take(hook: Row[Any], call: Call) -> bool:
    """Whether this delivery is new. The same one, that was at work, has ended: the project's row is locked."""
    event = "".join(filter(str.isprintable, call.event))[:64]
    row = {"webhook_id": hook.id, "delivery_id": call.delivery_id, "event": event, "said": ""}
    try:
        with db.session.begin_nested():
            run(_TAKE, **row, is_refused=False, received_at=clock.now())
    except IntegrityError:
        return False
    return True


def _remembered(mine: Mapping[str, str]) -> Outcome:
    """Raises CallRefused where the webhook was deleted at this moment, so that nothing could be remembered."""
    found = run(_REMEMBERED, **mine).first()
    if found is None:
        raise CallRefused
    return Outcome(found.said, found.is_refused)


# ---- what is asked for


def _act(hook: Row[Any], call: Call, project: Project) -> Outcome:
    if call.event in pushes.PINGS:
        return Outcome("Pong: the webhook works.")
    if call.event not in pushes.PUSHES:
        return Outcome("Only pushes matter here; nothing was done.")
    rows = _checkouts(project.id)
    push = pushes.read(call.body, call.content_type)
    checked_out = next((row.branch for row in rows if row.branch), None)
    if words := pushes.why_not(push, project.ref_kind, project.ref, checked_out):
        return Outcome(words)
    actor = people.actor_of(hook.created_by_id, hook.organisation_id, call.address)
    outcome = _pull_all(hook, actor, rows)
    who = actor or system(hook.organisation_id)
    after = {"webhook": hook.id, "delivery": call.delivery_id, "said": outcome.said[:SAID_LONGEST]}
    audit.record(who, "webhook.push", project.path, project.id, after=after)
    return outcome


def _checkouts(project_id: str) -> list[Checkout]:
    """All of a project's, locked, by the names of their workers. The project is locked already."""
    query = select(Checkout).where(Checkout.project_id == project_id).order_by(Checkout.id)
    query = query.options(joinedload(Checkout.worker), joinedload(Checkout.project))
    query = query.with_for_update(of=Checkout).execution_options(populate_existing=True)
    return sorted(db.session.scalars(query), key=lambda row: row.worker.name)


def _pull_all(hook: Row[Any], actor: Actor | None, rows: list[Checkout]) -> Outcome:
    """With the rights of who made the webhook, as they are now."""
    if actor is None:
        words = f"Refused: {hook.created_by}, who made this webhook, isn’t here any more."
        return Outcome(f"{words} Make a new webhook.", is_refused=True)
    if not actor.may("operator"):
        words = f"Refused: {actor.name}, who made this webhook, may only read now."
        return Outcome(f"{words} Have somebody else make a new one.", is_refused=True)
    if not rows:
        return Outcome("Nothing is checked out anywhere, so there is nothing to pull.")
    return Outcome(" ".join(f"{row.worker.name}: {_pull(hook.id, actor, row)}." for row in rows))


def _pull(webhook_id: str, actor: Actor, row: Checkout) -> str:
    """Have one checkout pulled: now, or once what runs there has ended. Returns what comes of it."""
    task = operations.active_task(row)
    if row.status == "deleting":
        return "left alone, it is being deleted"
    if task is not None:
        return _pull_after(task, webhook_id, row)
    if row.status != "active":
        return "left alone, it needs a person first"
    try:
        operations.refuse_worker(actor, row.worker, waits=True)
        with db.session.begin_nested():
            operations.begin(actor, row, "pull")
    except GarageError as error:
        return f"not pulled: {error.detail.rstrip('.')}"
    return "pulled" if operations.is_online(row.worker) else "pulled when it is back online"


def _pull_after(task: Task, webhook_id: str, row: Checkout) -> str:
    """What hasn't begun will fetch this push, too. What runs may have fetched before it."""
    if task.status == "queued" and task.input.get("operation") in ("pull", "clone"):
        return f"a {task.input['operation']} waits already"
    row.pull_wished_by = webhook_id
    return "pulled once what runs there has ended"


# ---- later


def pull_waiting() -> None:
    """Housekeeping: pulls that a push asked for while another operation ran."""
    query = select(Checkout.project_id).where(Checkout.pull_wished_by.is_not(None)).distinct().limit(BATCH)
    for project_id in db.session.scalars(query).all():
        with transaction() as session:
            project = session.get(Project, project_id, with_for_update=True)
            for row in _checkouts(project_id):
                if project and row.pull_wished_by and operations.active_task(row) is None:
                    _pull_wished(project, row)


def _pull_wished(project: Project, row: Checkout) -> None:
    hook = run(_FIND, webhook_id=row.pull_wished_by).first()
    row.pull_wished_by = None
    if hook is None:
        return  # deleted since, and what it asked for with it
    actor = people.actor_of(hook.created_by_id, hook.organisation_id)
    outcome = _pull_all(hook, actor, [row])
    after = {"webhook": hook.id, "said": outcome.said[:SAID_LONGEST]}
    audit.record(actor or system(row.organisation_id), "webhook.push", project.path, project.id, after=after)
    operations.tell(project)


def remove_old() -> bool:
    """Housekeeping: a batch of the deliveries that nobody sends again. Returns whether there may be more."""
    is_old = _deliveries.c.received_at < clock.now() - KEPT
    key = (_deliveries.c.webhook_id, _deliveries.c.delivery_id)
    oldest = select(*key).where(is_old).order_by(_deliveries.c.received_at).limit(BATCH)
    with transaction():
        gone = run(delete(_deliveries).where(tuple_(*key).in_(oldest)))
    return gone.rowcount == BATCH
