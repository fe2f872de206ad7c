"""Who acts: what services take instead of a request."""

from dataclasses import dataclass
from typing import Literal

from webapp.auth.rules import Role, allows


@dataclass(frozen=True)
class Actor:
    """A person, a person's program, a worker or the server itself, in one organisation, from an address."""

    kind: Literal["user", "token", "worker", "system"]
    name: str
    organisation_id: str
    role: Role
    id: str | None = None
    address: str = ""
    # How this credential is told from the same person's others: the session's digest or the token's id.
    credential: str = ""

    def may(self, needed: Role) -> bool:
        return allows(self.role, needed)


def system(organisation_id: str) -> Actor:
    """The server itself, or whoever has a shell on it."""
    return Actor("system", "system", organisation_id, "admin")
