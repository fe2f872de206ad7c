"""Register, approve, revoke, change and remove workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor, system
from webapp.auth.service import default_organisation_id
from webapp.database import after_commit, transaction
from webapp.errors import Conflict, TooMany
from webapp.live.bus import bus, organisation_topic, worker_topic
from webapp.security import NewToken, digest, new_token, short_code
from webapp.workers import join_tokens, presence, tools
from webapp.workers.caller import ProtocolRefused
from webapp.workers.identify import KEY_PREFIX
from webapp.workers.models import JoinToken, Worker, WorkerKey
from webapp.workers.rules import protocol_problem
from webapp.workers.schemas import Found, Introduction, Registration, WorkerChange

# Filled by create_app: what higher domains do when a worker's right to work ends (release leases, forget checkouts).
after_revoke: list[Callable[[Worker], None]] = []
# The same, before its row goes.
before_remove: list[Callable[[Worker], None]] = []
# And what they do when its owner allows something else than before.
after_new_policy: list[Callable[[Worker], None]] = []


@dataclass(frozen=True)
class Registered:
    worker_id: str
    api_key: str
    status: str
    code: str


def register(request: Registration, address: str) -> Registered:
    """A machine introduces itself. Approved at once with a join token, else pending until an admin approves.

    Said twice with the same machine and nonce, before the key was used, it is the same worker with a fresh key: the
    first answer may have been lost. Raises NotSignedIn for a join token that is no good, TooMany past the cap,
    ProtocolRefused for an agent that is too old or too new.
    """
    with transaction() as session:
        token = join_tokens.known(request.join_token) if request.join_token else None
        organisation_id = token.organisation_id if token else default_organisation_id()
        worker = _same_again(session, request, organisation_id)
        if token and not (worker and (worker.join_key_id == token.key_id or worker.status == "approved")):
            join_tokens.use(token)  # said twice, the first one has used it already
        if worker is None:
            worker = _new_worker(session, organisation_id, is_invited=token is not None)
        _introduce(worker, request)
        worker.name = request.name
        worker.nonce_digest = digest(request.nonce)
        worker.machine_id = request.machine_id
        worker.address = address
        session.flush()
        key = _fresh_key(session, worker)
        if token and worker.status == "pending":
            _enrol(worker, token)
        actor = Actor("worker", worker.name, worker.organisation_id, "viewer", worker.id, address)
        audit.record(actor, "worker.register", worker.name, worker.id, after={"status": worker.status})
        announce(worker)
        return Registered(worker.id, key.text, worker.status, worker.code)


def _same_again(session: Session, request: Registration, organisation_id: str) -> Worker | None:
    """In the same organisation: another one's join token may not approve a worker that waits here."""
    query = select(Worker).where(
        Worker.organisation_id == organisation_id,
        Worker.machine_id == request.machine_id,
        Worker.nonce_digest == digest(request.nonce),
        Worker.first_used_at.is_(None),
        Worker.status != "revoked",
    )
    return session.scalar(query.limit(1))


def _new_worker(session: Session, organisation_id: str, is_invited: bool) -> Worker:
    if not is_invited:
        _refuse_crowd(session, organisation_id)
    worker = Worker(organisation_id=organisation_id, status="pending", code=short_code())
    session.add(worker)
    return worker


def _refuse_crowd(session: Session, organisation_id: str) -> None:
    pending = select(func.count()).select_from(Worker)
    pending = pending.where(Worker.organisation_id == organisation_id, Worker.status == "pending")
    if (session.scalar(pending) or 0) >= current_app.config["SETTINGS"].pending_workers:
        raise TooMany("Too many workers wait for approval. An admin approves or removes some first.")


def _introduce(worker: Worker, said: Introduction) -> None:
    """What the agent says of its machine. Raises ProtocolRefused."""
    if problem := protocol_problem(said.protocol):
        raise ProtocolRefused(problem)
    worker.protocol = said.protocol
    worker.hostname, worker.platform, worker.agent_version = said.hostname, said.platform, said.agent_version
    worker.agent_labels, worker.policy = said.labels, said.policy.as_stored()
    worker.tools = [tool.name for tool in said.tools if tool.found is None or tool.found.works]
    worker.tool_facts = [{"name": tool.name, **(tool.found or Found()).model_dump()} for tool in said.tools]
    worker.declared_tools = [tool.model_dump(by_alias=True) for tool in said.tools]
    if isinstance(said, Registration):
        worker.slots, worker.plan_limit = said.slots, said.plan_limit


def _fresh_key(session: Session, worker: Worker) -> NewToken:
    key = new_token(KEY_PREFIX)
    session.execute(delete(WorkerKey).where(WorkerKey.worker_id == worker.id))
    session.add(WorkerKey(key_id=key.key_id, digest=key.digest, worker_id=worker.id))
    return key


def _enrol(worker: Worker, token: JoinToken) -> None:
    worker.labels = {**worker.labels, **token.labels}
    worker.admins_only = token.admins_only
    worker.slots_set = token.slots
    worker.join_key_id = token.key_id
    if token.approves:
        worker.status = "approved"
        worker.approved_at = clock.now()
        tools.learn(worker.organisation_id, worker.declared_tools)


def introduce(worker_id: str, said: Introduction, slots: int, plan_limit: int) -> None:
    """An approved agent started anew, perhaps upgraded: what it says now is true."""
    with transaction() as session:
        worker = session.get_one(Worker, worker_id)
        is_new_policy = worker.policy != said.policy.as_stored()
        _introduce(worker, said)
        for hook in after_new_policy if is_new_policy else ():
            hook(worker)
        worker.slots, worker.plan_limit = slots, plan_limit
        worker.first_used_at = worker.first_used_at or clock.now()
        tools.learn(worker.organisation_id, worker.declared_tools)
        announce(worker)


def approve(actor: Actor, worker: Worker) -> None:
    with transaction() as session:
        moved = session.execute(
            update(Worker)
            .where(Worker.id == worker.id, Worker.status == "pending")
            .values(status="approved", approved_at=clock.now())
        )
        if not moved.rowcount:  # type: ignore[attr-defined]
            raise Conflict(f"{worker.name} is {worker.status}, not pending.")
        tools.learn(worker.organisation_id, worker.declared_tools)
        audit.record(
            actor, "worker.approve", worker.name, worker.id, {"status": "pending"}, {"status": "approved"}
        )
        announce(worker)


def revoke(actor: Actor, worker: Worker) -> None:
    """End a worker's right to work: its keys are refused from the next request on, and its leases end."""
    with transaction() as session:
        if worker.status == "revoked":
            raise Conflict(f"{worker.name} is revoked already.")
        before = worker.status
        worker.status, worker.revoked_at = "revoked", clock.now()
        session.flush()
        for hook in after_revoke:
            hook(worker)
        audit.record(
            actor, "worker.revoke", worker.name, worker.id, {"status": before}, {"status": "revoked"}
        )
        announce(worker)


def remove(actor: Actor, worker: Worker) -> None:
    """Forget a worker that may not work: its history stays with the tasks."""
    with transaction() as session:
        if worker.status == "approved":
            raise Conflict(f"{worker.name} may still work. Revoke it first.")
        for hook in before_remove:
            hook(worker)
        session.execute(delete(WorkerKey).where(WorkerKey.worker_id == worker.id))
        session.execute(delete(Worker).where(Worker.id == worker.id))
        audit.record(actor, "worker.remove", worker.name, worker.id, before={"name": worker.name})
        announce(worker)
        after_commit(lambda worker_id=worker.id: presence.forget(worker_id))  # type: ignore[misc]


def announce_text(actor: Actor, workers: Sequence[Worker], words: str) -> None:
    """Have these agents show a text at their terminals, once. An empty one takes the last one back."""
    with transaction():
        for worker in workers:
            worker.announcement = words or None
            announce(worker)
            audit.record(actor, "worker.announce", worker.name, worker.id, after={"text": words})


def change(actor: Actor, worker: Worker, wish: WorkerChange) -> None:
    """Name, labels, slots, whom it serves. What the wish leaves out stays; slots of None are the agent's own again."""
    columns = {"name": "name", "labels": "labels", "slots": "slots_set", "admins_only": "admins_only"}
    with transaction():
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for said, column in columns.items():
            value = getattr(wish, said)
            is_said = said in wish.model_fields_set and (value is not None or said == "slots")
            if is_said and value != getattr(worker, column):
                before[said], after[said] = getattr(worker, column), value
                setattr(worker, column, value)
        if after:
            audit.record(actor, "worker.change", worker.name, worker.id, before, after)
            announce(worker)


def forget_pending(older_than_hours: float) -> None:
    """Housekeeping: who wasn't approved in time has to register again."""
    limit = clock.now() - timedelta(hours=older_than_hours)
    with transaction() as session:
        query = select(Worker).where(Worker.status == "pending", Worker.created_at < limit)
        for worker in session.scalars(query.limit(500)).all():
            remove(system(worker.organisation_id), worker)


def announce(worker: Worker) -> None:
    """Wake its agent, and who looks at it, after the commit."""
    topics = (worker_topic(worker.id), organisation_topic(worker.organisation_id))
    after_commit(lambda: bus.wake(*topics))
