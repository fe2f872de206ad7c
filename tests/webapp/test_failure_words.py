"""How a failed attempt is told to people."""

from __future__ import annotations

from typing import get_args

import pytest

from webapp.tasks.rules import FAILURE_MEANS, FailureClass, failure_words


@pytest.mark.parametrize(
    ("failure_class", "error", "words"),
    [
        ("timeout", None, "it ran longer than its time limit"),
        ("timeout", "  ", "it ran longer than its time limit"),
        ("disk_low", "2 GB free", "the worker’s disk is nearly full: 2 GB free"),
        (
            "worker_lost",
            "lab-01 stopped answering and its lease ended",
            "lab-01 stopped answering and its lease ended",
        ),
        (
            "worker_lost",
            "lab-01 was revoked",
            "the worker stopped answering and its lease ended: lab-01 was revoked",
        ),
        ("of_a_newer_agent", "it broke", "of_a_newer_agent: it broke"),
    ],
)
def test_the_class_is_said_in_words_and_the_error_where_it_says_more(
    failure_class: str, error: str | None, words: str
) -> None:
    assert failure_words(failure_class, error) == words


def test_every_class_has_words() -> None:
    assert set(FAILURE_MEANS) == set(get_args(FailureClass))
