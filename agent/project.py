"""The project of a task: a checkout that the task works in, or that it places."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.errors import NoCheckout
from agent.journal import SAFE_ID
from agent.offer import BadOffer
from agent.roots import Roots

# {owner}_{name}: one folder, never hidden, never `..`.
PATH = re.compile(r"[a-z0-9-]{1,64}_[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_TEXT = 255


@dataclass(frozen=True)
class Project:
    id: str
    name: str
    path: str  # its folder's name
    branch: str  # that is wanted; empty: the remote's own

    def checkout(self, projects: Path) -> Path:
        """The folder, with no link on the way. Raises NoCheckout where there is none."""
        place = projects.resolve() / self.path
        try:
            is_folder = stat.S_ISDIR(place.lstat().st_mode)
        except OSError:
            is_folder = False
        if not is_folder:
            raise NoCheckout(
                f"project {self.name} isn’t on this machine ({place}): refresh the project, then clone it here again"
            )
        return place

    def variables(self, checkout: Path, roots: Roots) -> dict[str, str]:
        """What a task in it sees: its name with its owner's, which is unique, and where things are."""
        return {
            "GARAGESWARM_PROJECT": self.path,
            "GARAGESWARM_PROJECT_PATH": str(checkout),
            "GARAGESWARM_DATASETS": str(roots.datasets),
            "GARAGESWARM_OUTPUTS": str(roots.outputs),
        }

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def placed(projects: Path) -> list[str]:
    """The folders of checkouts; none where nobody may look."""
    try:
        return sorted(path.name for path in projects.iterdir() if PATH.fullmatch(path.name))
    except OSError:
        return []


def of(data: Mapping[str, Any]) -> Project | None:
    """The project in a task's data, or in its journal. Raises BadOffer for one that makes no sense."""
    said = data.get("project")
    if said is None:
        return None
    known = (
        {name: said.get(name) or "" for name in ("id", "name", "path", "branch")}
        if isinstance(said, dict)
        else {}
    )
    if not known or not all(isinstance(one, str) for one in known.values()):
        raise BadOffer("a project that isn't one")
    if not SAFE_ID.fullmatch(known["id"]) or not PATH.fullmatch(known["path"]):
        raise BadOffer(f"a project with the id {known['id']!r} and the folder {known['path']!r}")
    if not all(len(one) <= MAX_TEXT and one.isprintable() for one in known.values()):
        raise BadOffer("a project whose name or branch can't be printed")
    return Project(**known)
