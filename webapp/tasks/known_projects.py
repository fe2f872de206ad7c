"""What tasks ask about projects: they are a higher domain's, and webapp/projects fills these. Without it there are none."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple


class KnownProject(NamedTuple):
    id: str
    name: str  # {owner}_{name}: no other one in its organisation is called so


# A checkout that is ready, or will be by itself. One that failed waits for a person.
COMING = ("active", "pending", "syncing")

# {project id: {worker id: the status of its checkout there}}. Only in an `active` one tasks can run.
Places = Mapping[str, Mapping[str, str]]


def _nowhere(project_ids: Collection[str]) -> Places:
    return {}


def _nameless(project_id: str) -> None:
    return None


def _none_known(organisation_id: str) -> Sequence[KnownProject]:
    return ()


places_of: Callable[[Collection[str]], Places] = _nowhere
# None: there is none such any more.
name_of: Callable[[str], str | None] = _nameless
# All of an organisation, by name.
known_to: Callable[[str], Sequence[KnownProject]] = _none_known


def ready_on(worker_id: str, places: Places, statuses: Collection[str] = ("active",)) -> frozenset[str]:
    """Of the projects in these places, those whose checkout on this worker is in one of these statuses."""
    return frozenset(project_id for project_id, found in places.items() if found.get(worker_id) in statuses)
