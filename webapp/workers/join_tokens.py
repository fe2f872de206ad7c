"""Join tokens: whoever shows one is approved at once."""

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
from webapp.workers.models import JoinToken
from webapp.workers.rules import label_problem

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
    admins_only: bool = False,
) -> str:
    """Make a token for `uses` workers (None: any number) within `hours` (None: for ever). Returns its text, shown once."""
    if not 0 < len(name.strip()) <= 255:
        raise Invalid("Give the token a name of 1 to 255 characters: whom it is for.", "name")
    if uses is not None and not 1 <= uses <= USES_MOST:
        raise Invalid(f"Uses are 1 to {USES_MOST}.", "uses")
    if hours is not None and not 0 < hours <= HOURS_LONGEST:
        raise Invalid(f"Hours are more than 0 and at most {HOURS_LONGEST}.", "hours")
    if problem := label_problem(labels or {}):
        raise Invalid(problem, "labels")
    token = new_token(PREFIX)
    with transaction() as session:
        session.execute(
            insert(JoinToken).values(
                key_id=token.key_id,
                digest=token.digest,
                organisation_id=actor.organisation_id,
                name=name.strip(),
                labels=labels or {},
                admins_only=admins_only,
                uses_left=uses,
                expires_at=clock.now() + timedelta(hours=hours) if hours else None,
            )
        )
        audit.record(
            actor, "join-token.create", name, None, after={"id": token.key_id, "uses": uses, "hours": hours}
        )
    return token.text


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
