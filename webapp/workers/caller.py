"""The worker behind a request's key, as a value: what the queue needs to know of it, read once a request."""

from dataclasses import dataclass, field
from datetime import datetime

from webapp import clock
from webapp.auth.actor import Actor
from webapp.errors import Forbidden, NotSignedIn


class UnknownKey(NotSignedIn):
    """Send a worker key in X-Worker-API-Key."""


class WorkerPending(Forbidden):
    """This worker waits for approval. An admin approves it on the page Workers."""

    slug = "worker-pending"


class WorkerRevoked(Forbidden):
    """This worker was revoked. Remove its identity file and join again."""

    slug = "worker-revoked"


class ProtocolRefused(Forbidden):
    """This agent speaks a protocol that the server doesn't. Update the older one of the two."""

    slug = "protocol-refused"


@dataclass(frozen=True)
class Caller:
    """`slots_set` is what a person set; without it the agent's own word counts.

    `key_is_fresh`: from a rotation, and used now for the first time. `wants_rotation`: an admin wishes for one.
    """

    worker_id: str
    organisation_id: str
    name: str
    status: str
    tools: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)
    admins_only: bool = False
    slots_set: int | None = None
    address: str = ""
    is_draining: bool = False
    quarantined_until: datetime | None = None
    announcement: str | None = None
    has_refused: bool = False  # tasks, by what its machine's owner allows
    key_id: str = ""
    key_is_fresh: bool = False
    boot_id: str = ""  # as its agent says
    wants_rotation: bool = False

    def as_actor(self) -> Actor:
        """The worker as the audit log names it."""
        return Actor("worker", self.name, self.organisation_id, "viewer", self.worker_id, self.address)

    @property
    def is_quarantined(self) -> bool:
        return self.quarantined_until is not None and self.quarantined_until > clock.now()

    def capacity(self, said: int) -> int:
        return said if self.slots_set is None else self.slots_set


def refuse_status(status: str, pending_too: bool = False) -> None:
    """Raises WorkerRevoked or WorkerPending where the worker may not work."""
    if status == "revoked":
        raise WorkerRevoked
    if status == "pending" and not pending_too:
        raise WorkerPending
