"""The form that clones: what was typed, as the wishes that the service takes, and its errors beside the fields."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from webapp.errors import GarageError, Invalid, invalid_from
from webapp.projects.rules import RefKind, ref_problem
from webapp.projects.schemas import BranchesWish, CloneWish, Remote

Wish = TypeVar("Wish", bound=Remote)
TEXTS = (
    *("git_url", "worker", "name", "description", "branch", "fixed_kind", "fixed", "depth"),
    *("credential", "credential_id", "credential_kind", "credential_username"),
)
BOXES = ("single_branch", "submodules", "lfs")
PASTED = "credential_secret"
LONGEST = 20_000
# Where the page shows what the service says of a part.
FIELDS = {
    "worker_id": "worker",
    "tag": "fixed",
    "commit": "fixed",
    "credential.kind": "credential_secret",
    "credential.username": "credential_username",
    "credential.token": "credential_secret",
    "credential.private_key": "credential_secret",
    "credential": "credential_secret",
    "token": "credential_secret",
    "private_key": "credential_secret",
    "username": "credential_username",
}
ON_THE_PAGE = {*TEXTS, PASTED}
ADVANCED = ("fixed", "depth", "description", *BOXES)


@dataclass
class CloneForm:
    """`values` never hold the secret: it isn't shown again."""

    values: dict[str, str]
    secret: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def is_advanced(self) -> bool:
        return any(self.values[name] or name in self.errors for name in ADVANCED)

    def fail(self, error: GarageError) -> None:
        """Each problem beside its field; what belongs to none of them on top."""
        rows = error.extra.get("errors") or [{"field": "", "message": error.detail}]
        for row in rows:
            name = FIELDS.get(str(row["field"]), str(row["field"]))
            self.errors.setdefault(name if name in ON_THE_PAGE else "", str(row["message"]))

    def clone_wish(self) -> CloneWish:
        """Raises Invalid."""
        values = self.values
        _refuse([*self._problems_of_remote(), *self._problems_of_parts()])
        said = self._remote() | {name: bool(values[name]) for name in BOXES}
        said |= {name: values[name] for name in ("name", "description")}
        if values["depth"]:
            said["depth"] = int(values["depth"])
        if self.ref_kind != "default":
            said[self.ref_kind] = values["fixed"] or values["branch"]
        return _checked(CloneWish, said)

    def branches_wish(self) -> BranchesWish:
        """Raises Invalid."""
        _refuse(self._problems_of_remote())
        return _checked(BranchesWish, self._remote())

    @property
    def ref_kind(self) -> RefKind:
        """A tag or a commit wins over the branch that the field above may still show."""
        if self.values["fixed"]:
            return "commit" if self.values["fixed_kind"] == "commit" else "tag"
        return "branch" if self.values["branch"] else "default"

    def _problems_of_remote(self) -> Iterator[tuple[str, str]]:
        """What nobody typed, in words: field and problem."""
        if not self.values["git_url"]:
            yield "git_url", "Give the repository’s URL, as its page shows it for cloning."
        if not self.values["worker"]:
            yield "worker", "Choose a worker that can take it now."
        if self.values["credential"] == "known" and not self.values["credential_id"]:
            yield "credential_id", "Choose one, or none."
        if self.values["credential"] == "new" and not self.secret:
            yield PASTED, "Paste the token or the key, or choose no credential."

    def _problems_of_parts(self) -> Iterator[tuple[str, str]]:
        depth, fixed = self.values["depth"], self.values["fixed"]
        if problem := ref_problem(self.ref_kind, fixed or self.values["branch"]):
            yield "fixed" if fixed else "branch", problem
        if depth and not (depth.isdecimal() and len(depth) < 10 and int(depth)):
            yield "depth", "Give a whole number of commits, 1 or more, or nothing for all."

    def _remote(self) -> dict[str, Any]:
        values = self.values
        said: dict[str, Any] = {"git_url": values["git_url"], "worker_id": values["worker"]}
        if values["credential"] == "known":
            said["credential_id"] = values["credential_id"] or None
        elif values["credential"] == "new":
            is_key = values["credential_kind"] == "ssh"
            secret = self.secret + "\n" if is_key and self.secret else self.secret
            said["credential"] = {
                "kind": "ssh" if is_key else "token",
                "username": values["credential_username"],
                "private_key" if is_key else "token": secret,
            }
        return said


def blank(**known: str) -> CloneForm:
    return CloneForm(dict.fromkeys((*TEXTS, *BOXES), "") | known)


def filled(said: Mapping[str, str]) -> CloneForm:
    values = {name: said.get(name, "").strip()[:LONGEST] for name in (*TEXTS, *BOXES)}
    secret = said.get(PASTED, "").replace("\r\n", "\n").strip()[:LONGEST]
    return CloneForm(values, secret)


def _refuse(problems: Iterable[tuple[str, str]]) -> None:
    rows = [{"field": name, "message": words} for name, words in problems]
    if rows:
        raise Invalid(rows[0]["message"], errors=rows)


def _checked(model: type[Wish], said: dict[str, Any]) -> Wish:
    try:
        return model.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from error
