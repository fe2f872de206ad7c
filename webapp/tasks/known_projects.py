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


def _stays_nowhere(project_id: str) -> bool:
    return False


def _none_known(organisation_id: str) -> Sequence[KnownProject]:
    return ()


places_of: Callable[[Collection[str]], Places] = _nowhere
# None: there is none such any more.
name_of: Callable[[str], str | None] = _nameless
# All of an organisation, by name.
known_to: Callable[[str], Sequence[KnownProject]] = _none_known


# Whether it is here, and stays until the transaction that is open ends: who deletes it finds what this one stores.
stays: Callable[[str], bool] = _stays_nowhere


def is_gone(project_id: str | None) -> bool:
    """Of a task: the project that it was to run in was deleted. As it stays until the transaction that is open ends."""
    return project_id is not None and not stays(project_id)


def ready_on(worker_id: str, places: Places, statuses: Collection[str] = ("active",)) -> frozenset[str]:
    """Of the projects in these places, those whose checkout on this worker is in one of these statuses."""
    return frozenset(project_id for project_id, found in places.items() if found.get(worker_id) in statuses)
