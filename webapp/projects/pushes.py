"""What a remote's call says of a push: read from GitHub's, GitLab's, Gitea's or anybody's body. No database, no clock."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from webapp.projects.rules import RefKind

PUSHES = {"push", "Push Hook", "Tag Push Hook"}
PINGS = {"ping"}
NAME_LONGEST = 255


@dataclass(frozen=True)
class Push:
    """`ref` as git names it, refs/heads/main; empty where the body doesn't say. `default_branch`: of the remote, if told."""

    ref: str = ""
    default_branch: str = ""
    is_deletion: bool = False


def read(body: bytes, content_type: str) -> Push:
    """Of a body that its sender has signed. Anything that isn't a push as we know it is one of nobody knows what."""
    value = _json(body, content_type)
    repository = value.get("repository") if "repository" in value else value.get("project")
    default_branch = repository.get("default_branch") if isinstance(repository, dict) else ""
    if default_branch is None and isinstance(value.get("project"), dict):
        default_branch = value["project"].get("default_branch")
    after = value.get("after")
    is_deletion = value.get("deleted") is True or (
        isinstance(after, str) and after != "" and not after.strip("0")
    )
    return Push(_text(value.get("ref")), _text(default_branch), is_deletion)


def _json(body: bytes, content_type: str) -> Mapping[str, Any]:
    """GitHub sends a form, too, where its webhook is set so."""
    try:
        text = body.decode()
        if content_type.startswith("application/x-www-form-urlencoded"):
            text = parse_qs(text, max_num_fields=10).get("payload", [""])[0]
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and len(value) <= NAME_LONGEST else ""


def why_not(push: Push, ref_kind: RefKind, ref: str, checked_out: str | None) -> str | None:
    """Why a push changes nothing for a project that wants this, or None. `checked_out`: the branch that is, if known."""
    if ref_kind == "commit":
        return "This project stays on one commit, so there is nothing to pull."
    if not push.ref:
        return None
    wanted = f"refs/tags/{ref}" if ref_kind == "tag" else f"refs/heads/{_branch(push, ref, checked_out)}"
    if push.ref == wanted:
        return f"{_short(push.ref)} was deleted there; nothing is pulled." if push.is_deletion else None
    if wanted == "refs/heads/":
        return None  # nobody knows the default branch: better once too often
    return f"A push to {_short(push.ref)}; this project follows {_short(wanted)}. Nothing is pulled."


def _branch(push: Push, ref: str, checked_out: str | None) -> str:
    """What the project follows: its own branch, else the remote's default one."""
    return ref or push.default_branch or checked_out or ""


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
