"""Who this agent is to the server: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent import durable, machine
from agent.errors import BadConfig

FILE = "identity.json"


@dataclass(frozen=True)
class Identity:
    server_url: str
    nonce: str  # made before registration: a register whose answer was lost gets the same worker again
    machine_seed: str  # stands in for /etc/machine-id where there is none
    worker_id: str = ""
    api_key: str = ""
    code: str = ""
    name: str = ""
    former_key: str = ""  # the one before a rotation: it opens for a day more, and no log may show it
    pin: str = ""
    # What it was told when it joined, as the command line takes it: it needn't be said again.
    labels: str = ""
    slots: str = ""

    @property
    def is_registered(self) -> bool:
        return bool(self.worker_id and self.api_key)

    @property
    def machine_id(self) -> str:
        return machine.machine_id(self.machine_seed)


def prepare(storage: Path, server_url: str, pin: str = "") -> Identity:
    """The stored identity, or a new one without a worker, stored already. Writes only what is new: an agent starts on a
    full disk too.

    Raises BadConfig where this storage belongs to a worker of another server, OSError where it can't be read or written.
    """
    known = _load(storage / FILE)
    stored = known
    if stored is None:
        stored = Identity(server_url, secrets.token_hex(16), secrets.token_hex(16))
    if stored.server_url != server_url:
        if stored.is_registered and not _now_speaks_tls(stored.server_url, server_url):
            raise BadConfig(
                f"{storage} belongs to a worker of {stored.server_url}: give {server_url} another --storage"
            )
        stored = replace(stored, server_url=server_url)
    stored = replace(stored, pin=pin)
    if stored != known:
        save(storage, stored)
    return stored


def _now_speaks_tls(before: str, now: str) -> bool:
    """The same place, which has got a certificate meanwhile."""
    return before.startswith("http://") and now == f"https://{before.removeprefix('http://')}"


def look(storage: Path) -> Identity | None:
    """As it is stored; None where there is none that can be read. Changes nothing, a damaged file neither."""
    content = durable.look_json(storage / FILE)
    return None if content is None else _parsed(content)


def save(storage: Path, identity: Identity) -> None:
    durable.write_json(storage / FILE, asdict(identity))


def registered(identity: Identity, answer: dict[str, Any], **told: str) -> Identity:
    """`told`: name, labels and slots. Raises ValueError for an answer without the parts that make a worker."""
    worker_id, api_key = answer.get("worker_id"), answer.get("api_key")
    if not isinstance(worker_id, str) or not isinstance(api_key, str) or not worker_id or not api_key:
        raise ValueError("the server's answer has no worker_id and api_key")
    code = str(answer.get("code") or "")
    return replace(identity, worker_id=worker_id, api_key=api_key, code=code, **told)


def rotated(identity: Identity, answer: dict[str, Any]) -> Identity:
    """With the fresh key of an answer. Raises ValueError for one that has none."""
    fresh = answer.get("api_key")
    if not isinstance(fresh, str) or not fresh or fresh == identity.api_key:
        raise ValueError("the server's answer has no fresh key")
    return replace(identity, api_key=fresh, former_key=identity.api_key)


def _load(path: Path) -> Identity | None:
    """Raises OSError for one that is there and can't be read: that is no reason to become another worker."""
    if path.exists():
        path.read_bytes()
    content = durable.read_json(path)
    if content is None:
        return None
    known = _parsed(content)
    if known is None:
        durable.set_aside(path, "no nonce")
    return known


def _parsed(content: dict[str, Any]) -> Identity | None:
    known = {key: str(content.get(key, "")) for key in Identity.__dataclass_fields__}
    return Identity(**known) if known["nonce"] and known["server_url"] else None
