"""ssh servers' keys: the first worker that speaks to a host finds them, and from then on nobody accepts another.

Once one key of a host is known, none is added: whoever stands between a later worker and the host could bring one of a
kind that isn't known yet. An admin who knows that a server got a new key forgets the old one.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from sqlalchemy import delete, select, tuple_, update

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor, system
from webapp.auth.models import Organisation
from webapp.database import transaction
from webapp.errors import NotFound
from webapp.extensions import db
from webapp.projects import hosts
from webapp.projects.models import HostKey
from webapp.projects.rules import HOST_LONGEST
from webapp.projects.ssh_keys import HostLine, read_host_line
from webapp.workers.models import Worker

LINES_MOST = 20


def lines_for(organisation_id: str, url: str) -> list[str]:
    """Lines of known_hosts for the host of an ssh URL; none where it isn't known yet, or for other URLs."""
    host = hosts.known_hosts_name(url)
    known = _known(organisation_id, host) if host else ()
    return [f"{row.host} {row.key_type} {row.key}" for row in known]


def learn(organisation_id: str, url: str, lines: Iterable[str], worker: Worker) -> list[str]:
    """What a worker found at the host of this URL. Returns the fingerprints of keys that aren't the host's known ones.

    Lines about other hosts, or that aren't plain, are passed over: a worker says nothing about where it wasn't sent.
    """
    host = hosts.known_hosts_name(url)
    found = {line.key_type: line for line in _read(lines) if line.host == host}
    known = {row.key for row in _known(organisation_id, host)} if found else set()
    if all(line.key in known for line in found.values()):
        return []
    with transaction() as session:
        # Of two workers that are the first at once, one is: an organisation's hosts are pinned one after the other.
        session.get(Organisation, organisation_id, with_for_update={"key_share": True})
        pinned = _known(organisation_id, host)
        if not pinned:
            _pin(organisation_id, list(found.values()), worker)
            return []
        strange = [line for line in found.values() if line.key not in {row.key for row in pinned}]
        for line in strange:
            _note_strange(organisation_id, line, pinned, worker)
    return [line.fingerprint for line in strange]


def _read(lines: Iterable[str]) -> Iterable[HostLine]:
    for line in islice(lines, LINES_MOST):
        try:
            yield read_host_line(line)
        except ValueError:
            continue  # an agent's known_hosts may hold more than plain keys; what isn't one can't be pinned


def _known(organisation_id: str, host: str) -> Sequence[HostKey]:
    query = select(HostKey).where(HostKey.organisation_id == organisation_id, HostKey.host == host)
    return db.session.scalars(query.order_by(HostKey.key_type)).all()


def _pin(organisation_id: str, lines: Sequence[HostLine], worker: Worker) -> None:
    for line in lines:
        db.session.add(
            HostKey(
                organisation_id=organisation_id,
                host=line.host,
                key_type=line.key_type,
                key=line.key,
                fingerprint=line.fingerprint,
                worker_id=worker.id,
                worker_name=worker.name,
            )
        )
        after = {"key_type": line.key_type, "fingerprint": line.fingerprint, "worker": worker.name}
        audit.record(system(organisation_id), "host-key.pin", line.host, after=after)


def _note_strange(organisation_id: str, line: HostLine, pinned: Sequence[HostKey], worker: Worker) -> None:
    """On the key that it isn't: the one of its kind, else the first. Told once, however often it comes again."""
    row = next((row for row in pinned if row.key_type == line.key_type), pinned[0])
    is_news = row.other_fingerprint != line.fingerprint
    db.session.execute(
        update(HostKey)
        .where(HostKey.organisation_id == organisation_id, HostKey.host == line.host)
        .where(HostKey.key_type == row.key_type)
        .values(other_fingerprint=line.fingerprint, other_seen_at=clock.now(), other_seen_by=worker.name)
    )
    if is_news:
        before = {"fingerprint": row.fingerprint}
        after = {"found": line.fingerprint, "key_type": line.key_type, "worker": worker.name}
        audit.record(system(organisation_id), "host-key.refuse", line.host, before=before, after=after)


# ---- for people


def listed(
    organisation_id: str, after: tuple[str, str] = ("", ""), limit: int | None = None
) -> Sequence[HostKey]:
    """By host and kind; with a limit, one more than that."""
    query = select(HostKey).where(
        HostKey.organisation_id == organisation_id, tuple_(HostKey.host, HostKey.key_type) > after
    )
    query = query.order_by(HostKey.host, HostKey.key_type)
    return db.session.scalars(query.limit(limit and limit + 1)).all()


def forget(actor: Actor, host: str) -> None:
    """All keys of a host: the next worker that speaks to it finds them anew. Raises NotFound."""
    with transaction() as session:
        known = _known(actor.organisation_id, host)
        if not known:
            raise NotFound(f"No key of {host[:HOST_LONGEST]} is known here.")
        before = {"fingerprints": [row.fingerprint for row in known]}
        session.execute(
            delete(HostKey).where(HostKey.organisation_id == actor.organisation_id, HostKey.host == host)
        )
        audit.record(actor, "host-key.forget", host, before=before)
