"""Who may be in a checkout beside whom, and which worker matches: tables, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.tasks.rules import Offered, Room, Wanted, mismatches


def wanted(use: Any = "writes", project_id: str | None = "app", slot_class: str = "task") -> Wanted:
    return Wanted(
        "o", "shell", {}, None, False, slot_class, (), project_id, use if project_id else "", "alice_app"
    )


NOBODY = wanted(project_id=None)
IN_ONE_CHECKOUT = [
    ([], "reads", True),
    ([], "writes", True),
    ([], "places", True),
    (["reads"], "reads", True),
    (["reads", "reads"], "reads", True),
    (["reads"], "writes", False),
    (["reads"], "places", False),
    (["writes"], "reads", False),
    (["writes"], "writes", False),
    (["writes"], "places", False),
    (["places"], "reads", False),
    (["places"], "writes", False),
    (["places"], "places", False),
]


@pytest.mark.parametrize(("held", "asks", "is_admitted"), IN_ONE_CHECKOUT)
def test_in_a_checkout_any_number_read_or_one_writes(held: list[Any], asks: Any, is_admitted: bool) -> None:
    room = Room(slots=10, plans=1)
    for use in held:
        room.take(wanted(use))
    assert room.admits(wanted(asks)) is is_admitted
    assert room.admits(wanted(asks, project_id="other")), "another project's checkout is another matter"
    assert room.admits(NOBODY), "and so is a task without a project"


def turns(line: list[Any], held: list[Any], slots: int = 10) -> list[int]:
    """The places in the line of those that get in, one after the other."""
    room = Room(slots, plans=0)
    for use in held:
        room.occupied.take(wanted(use))
    inside = []
    for number, each in enumerate(wanted(use) if isinstance(use, str) else use for use in line):
        if room.admits(each):
            room.take(each)
            inside.append(number)
        else:
            room.occupied.heed(each)
    return inside


LINES = [
    ("all who read", ["reads", "reads", "reads"], [], [0, 1, 2]),
    ("one who writes", ["writes", "reads", "writes"], [], [0]),
    ("later readers stay behind who writes", ["reads", "writes", "reads"], [], [0]),
    ("also where one reads already", ["writes", "reads", "reads"], ["reads"], []),
    ("earlier readers don’t", ["reads", "places", "reads"], ["reads"], [0]),
    ("who works elsewhere isn’t kept out", ["writes", wanted("reads", "other"), NOBODY], ["reads"], [1, 2]),
    ("readers wait for no reader", ["reads", "reads"], ["reads"], [0, 1]),
    ("who finds no place of its class keeps nobody out", [wanted(slot_class="plan"), "reads"], [], [1]),
]


@pytest.mark.parametrize(("what", "line", "held", "inside"), LINES, ids=[row[0] for row in LINES])
def test_who_waits_to_write_isnt_overtaken(
    what: str, line: list[Any], held: list[Any], inside: list[int]
) -> None:
    assert turns(line, held) == inside


def test_a_full_worker_admits_nobody_to_a_free_checkout() -> None:
    assert turns(["reads", "reads"], [], slots=1) == [0]


HERE = Offered("o", "w", frozenset({"shell"}), {}, admins_only=False, checkouts=frozenset({"app"}))
ELSEWHERE = Offered("o", "w", frozenset({"shell"}), {}, admins_only=False, checkouts=frozenset({"other"}))
MATCHES = [
    ("writes", HERE, []),
    ("reads", HERE, []),
    ("writes", ELSEWHERE, ["has no checkout of alice_app"]),
    ("reads", ELSEWHERE, ["has no checkout of alice_app"]),
    ("places", ELSEWHERE, []),
]


@pytest.mark.parametrize(("use", "offered", "reasons"), MATCHES)
def test_a_worker_matches_that_has_it_or_is_to_get_it(use: Any, offered: Offered, reasons: list[str]) -> None:
    assert mismatches(wanted(use), offered) == reasons


def test_what_is_asked_is_the_same_whatever_the_project_is_called() -> None:
    assert wanted() == Wanted("o", "shell", {}, None, False, "task", (), "app", "writes", "renamed")
    assert len({wanted("reads").id, wanted("writes").id, wanted("places").id, NOBODY.id}) == 4
