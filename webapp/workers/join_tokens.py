"""Join tokens: whoever shows one comes into its organisation, approved at once unless the token says otherwise."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, insert, or_, select, update

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Invalid, NotFound, NotSignedIn
from webapp.extensions import db
from webapp.security import new_token, read_token, same
from webapp.workers.models import NAME_LENGTH, JoinToken, Worker
from webapp.workers.rules import SLOTS_MOST, label_problem

PREFIX = "gsj"
USES_MOST = 1_000_000
HOURS_LONGEST = 10 * 365 * 24


class JoinTokenRefused(NotSignedIn):
    """This join token is unknown, used up or expired. Make a new one, or join without and wait for approval."""

    slug = "join-token-refused"


def create(
    actor: Actor,
    name: str,
    uses: int | None = 1,
    hours: float | None = 24,
    labels: dict[str, str] | None = None,
    *,
    admins_only: bool = False,
    slots: int | None = None,
    approves: bool = True,
) -> str:
    """Make a token for `uses` workers (None: any number) within `hours` (None: for ever). Returns its text, shown once.

    `slots` None: as many as each agent says. Without `approves` its workers wait until an admin approves them.
    """
    _refuse_nonsense(name, uses, hours)
    _refuse_wrong_gifts(labels or {}, slots)
    token = new_token(PREFIX)
    given = {"uses": uses, "hours": hours, "slots": slots, "approves": approves}
    with transaction() as session:
        session.execute(
            insert(JoinToken).values(
                key_id=token.key_id,
                digest=token.digest,
                organisation_id=actor.organisation_id,
                name=name.strip(),
                labels=labels or {},
                admins_only=admins_only,
                slots=slots,
                approves=approves,
                uses_left=uses,
                expires_at=clock.now() + timedelta(hours=hours) if hours else None,
            )
        )
        audit.record(actor, "join-token.create", name, None, after={"id": token.key_id, **given})
    return token.text


def _refuse_nonsense(name: str, uses: int | None, hours: float | None) -> None:
    if not 0 < len(name.strip()) <= NAME_LENGTH:
        raise Invalid(f"Give the token a name of 1 to {NAME_LENGTH} characters: whom it is for.", "name")
    if uses is not None and not 1 <= uses <= USES_MOST:
        raise Invalid(f"Uses are 1 to {USES_MOST}.", "uses")
    if hours is not None and not 0 < hours <= HOURS_LONGEST:
        raise Invalid(f"Hours are more than 0 and at most {HOURS_LONGEST}.", "hours")


def _refuse_wrong_gifts(labels: dict[str, str], slots: int | None) -> None:
    if slots is not None and not 1 <= slots <= SLOTS_MOST:
        raise Invalid(f"Slots are 1 to {SLOTS_MOST}. Leave them empty for what the agent says.", "slots")
    if problem := label_problem(labels):
        raise Invalid(problem, "labels")


def known(text: str) -> JoinToken:
    """The token with this text, used up or not. Raises JoinTokenRefused."""
    parts = read_token(text, PREFIX)
    token = db.session.get(JoinToken, parts.key_id) if parts else None
    if parts is None or token is None or not same(token.digest, parts.digest):
        raise JoinTokenRefused
    return token


def use(token: JoinToken) -> None:
    """Use a token up by one. Raises JoinTokenRefused; which of its reasons it was stays our secret."""
    usable = (
        JoinToken.key_id == token.key_id,
        or_(JoinToken.uses_left.is_(None), JoinToken.uses_left > 0),
        or_(JoinToken.expires_at.is_(None), JoinToken.expires_at > clock.now()),
    )
    with transaction() as session:
        used = session.execute(update(JoinToken).where(*usable).values(uses_left=JoinToken.uses_left - 1))
        if not used.rowcount:  # type: ignore[attr-defined]
            raise JoinTokenRefused


def listed(organisation_id: str) -> Sequence[JoinToken]:
    query = select(JoinToken).where(JoinToken.organisation_id == organisation_id)
    return db.session.scalars(query.order_by(JoinToken.created_at.desc())).all()


def some(organisation_id: str, after: str, limit: int) -> Sequence[JoinToken]:
    """A page of them by id, and one more."""
    query = select(JoinToken).where(JoinToken.organisation_id == organisation_id, JoinToken.key_id > after)
    return db.session.scalars(query.order_by(JoinToken.key_id).limit(limit + 1)).all()


def joined_with(organisation_id: str) -> defaultdict[str, list[Worker]]:
    """The workers that came with each token, by its id, and are still here."""
    query = select(Worker).where(Worker.organisation_id == organisation_id, Worker.join_key_id.is_not(None))
    found = defaultdict[str, list[Worker]](list)
    for worker in db.session.scalars(query.order_by(Worker.created_at)):
        found[worker.join_key_id or ""].append(worker)
    return found


def revoke(actor: Actor, key_id: str) -> None:
    with transaction() as session:
        query = select(JoinToken).where(
            JoinToken.key_id == key_id, JoinToken.organisation_id == actor.organisation_id
        )
        token = session.scalar(query)
        if token is None:
            raise NotFound
        session.execute(delete(JoinToken).where(JoinToken.key_id == key_id))
        audit.record(actor, "join-token.revoke", token.name, None, before={"id": key_id})
