"""People, their roles and passwords. Who is signed in is in `sessions.py`, their programs' tokens in `tokens.py`."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from webapp.auth import audit
from webapp.auth.actor import Actor, system
from webapp.auth.models import ApiToken, LoginSession, Member, Organisation, User
from webapp.auth.rules import ROLES, Role, name_problem, password_problem
from webapp.database import after_commit, release, transaction
from webapp.errors import Conflict, Invalid, NotFound
from webapp.extensions import db
from webapp.live.bus import bus, person_topic
from webapp.offload import offload
from webapp.security import hash_password, password_matches

DEFAULT_ORGANISATION = "Default"


def default_organisation_id() -> str:
    """The one that a small install never sees. Made when it isn't there."""
    found = db.session.scalar(select(Organisation.id).where(Organisation.is_default))
    if found:
        return found
    with transaction() as session:
        organisation = Organisation(name=DEFAULT_ORGANISATION, is_default=True)
        session.add(organisation)
        session.flush()
        return organisation.id


def has_users() -> bool:
    return db.session.scalar(select(User.id).limit(1)) is not None


def members(organisation_id: str) -> Sequence[Member]:
    query = select(Member).join(User).where(Member.organisation_id == organisation_id).order_by(User.name)
    return db.session.scalars(query).all()


def actor_of(user_id: str, organisation_id: str, address: str = "") -> Actor | None:
    """A person as they are now, for what they once set going; None where they aren't here any more."""
    query = select(User.name, Member.role).join(Member, Member.user_id == User.id)
    here = (User.id == user_id, Member.organisation_id == organisation_id, User.disabled_at.is_(None))
    found = db.session.execute(query.where(*here)).first()
    return Actor("user", found.name, organisation_id, found.role, user_id, address) if found else None


def add_member(actor: Actor, name: str, password: str, role: Role) -> Member:
    """A new person, in the actor's organisation. Raises Invalid or Conflict."""
    _check(name, password, role)
    hashed = offload(hash_password, password)
    with transaction() as session:
        if session.scalar(select(User.id).where(User.name == name)):
            raise Conflict(f"There is a user {name} already. Choose another name.")
        user = User(name=name, password_hash=hashed)
        session.add(user)
        session.flush()
        member = Member(organisation_id=actor.organisation_id, user_id=user.id, role=role)
        session.add(member)
        audit.record(actor, "member.add", name, user.id, after={"role": role})
    return member


def change_role(actor: Actor, member_id: str, role: Role) -> None:
    with transaction() as session:
        member = _member(actor, member_id)
        if role not in ROLES:
            raise Invalid(f"A role is one of {', '.join(ROLES)}.", "role")
        _keep_one_admin(actor, member, role)
        audit.record(
            actor, "member.role", member.user.name, member.user_id, {"role": member.role}, {"role": role}
        )
        session.execute(update(Member).where(Member.id == member.id).values(role=role))
        _tell(member.user_id)


def remove_member(actor: Actor, member_id: str) -> None:
    """Out of the organisation: sessions and API tokens there end with it."""
    with transaction() as session:
        member = _member(actor, member_id)
        _keep_one_admin(actor, member, None)
        for table in (LoginSession, ApiToken):
            session.execute(
                delete(table).where(
                    table.user_id == member.user_id, table.organisation_id == actor.organisation_id
                )
            )
        session.execute(delete(Member).where(Member.id == member.id))
        audit.record(actor, "member.remove", member.user.name, member.user_id, before={"role": member.role})
        _tell(member.user_id)


def reset_password(actor: Actor, name: str, password: str, keep_session: str = "") -> None:
    """Set a password. Every session of that person ends, except the one that asked."""
    _check(name, password, "viewer")
    hashed = offload(hash_password, password)
    with transaction() as session:
        user = session.scalar(select(User).where(User.name == name))
        if user is None:
            raise NotFound(f"There is no user {name}.")
        user.password_hash = hashed
        session.execute(
            delete(LoginSession).where(LoginSession.user_id == user.id, LoginSession.digest != keep_session)
        )
        audit.record(actor, "user.password", name, user.id)
        _tell(user.id)


def change_own_password(actor: Actor, current: str, new: str) -> None:
    """Like `reset_password`, for whoever still knows the one now. Raises Invalid."""
    known = db.session.scalar(select(User.password_hash).where(User.id == actor.id))
    release()
    if not offload(password_matches, known, current):
        raise Invalid("That isn’t your password now.", "current")
    reset_password(actor, actor.name, new, keep_session=actor.credential)


def create_first_admin(password: str) -> None:
    actor = system(default_organisation_id())
    add_member(actor, "admin", password, "admin")


def _tell(user_id: str) -> None:
    """Open sockets of this person look at once whether they may stay."""
    after_commit(lambda: bus.wake(person_topic(user_id)))


def _check(name: str, password: str, role: Role) -> None:
    if problem := name_problem(name):
        raise Invalid(problem, "name")
    if problem := password_problem(password, name):
        raise Invalid(problem, "password")
    if role not in ROLES:
        raise Invalid(f"A role is one of {', '.join(ROLES)}.", "role")


def _member(actor: Actor, member_id: str) -> Member:
    query = select(Member).where(Member.id == member_id, Member.organisation_id == actor.organisation_id)
    member = db.session.scalar(query.with_for_update(of=Member))
    if member is None:
        raise NotFound
    return member


def _keep_one_admin(actor: Actor, member: Member, role: Role | None) -> None:
    if member.role != "admin" or role == "admin":
        return
    admins = select(Member.id).where(Member.organisation_id == actor.organisation_id, Member.role == "admin")
    others = db.session.scalars(admins.where(Member.id != member.id).with_for_update()).all()
    if not others:
        raise Conflict(f"{member.user.name} is the last admin. Make somebody else an admin first.")
