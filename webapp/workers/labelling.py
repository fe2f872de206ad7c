"""Give labels to workers and take them away, several at a time."""

from dataclasses import dataclass

from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Conflict, Invalid
from webapp.workers.access import locked
from webapp.workers.models import Worker
from webapp.workers.rules import LABEL_KEY, label_problem, parse_labels
from webapp.workers.service import announce


@dataclass(frozen=True)
class LabelWish:
    give: dict[str, str]
    take: frozenset[str]


def read(text: str) -> LabelWish:
    """`site=attic quiet -old` → give site and quiet, take old. Raises Invalid before anything is done."""
    words = text.replace(",", " ").split()
    take = frozenset(word[1:] for word in words if word.startswith("-"))
    said = parse_labels(" ".join(word for word in words if not word.startswith("-")))
    give = {key: value or "" for key, value in said.items()}
    if not words:
        raise Invalid("Write the labels to give, and those to take away with a - in front.", "labels")
    wrong = next((key for key in take if not LABEL_KEY.fullmatch(key)), None)
    if wrong is not None:
        raise Invalid(f"-{wrong[:80]} names no label. To take one away, write - and its name.", "labels")
    if both := take & give.keys():
        raise Invalid(f"{min(both)} can’t be given and taken away at once.", "labels")
    if problem := label_problem(give):
        raise Invalid(problem, "labels")
    return LabelWish(give, take)


def label(actor: Actor, worker: Worker, wish: LabelWish) -> None:
    """Said twice it changes nothing more. Raises Conflict where a label to take away is brought by its agent."""
    with transaction():
        found = locked(worker)
        before = found.labels
        kept = {key: value for key, value in before.items() if key not in wish.take}
        after = {**kept, **wish.give}
        brought = sorted(wish.take & found.agent_labels.keys())
        if brought:
            raise Conflict(f"{found.name} brings {brought[0]} itself: change it in its agent’s settings.")
        if problem := label_problem(after):
            raise Conflict(f"{found.name}: {problem}.")
        if after != before:
            found.labels = after
            audit.record(actor, "worker.change", found.name, found.id, {"labels": before}, {"labels": after})
            announce(found)
