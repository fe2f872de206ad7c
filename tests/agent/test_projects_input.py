"""The tool git: which input it takes, what of it is secret, and what the owner's rules see of it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.offer import Offer
from agent.policy import Policy
from agent.secret_forms import secrets_of
from agent.tools import BadInput, registry
from agent.tools.git import TOOL

HTTPS = {"operation": "clone", "url": "https://git.example/ada/garden.git", "path": "ada_garden"}
FULL = {
    **HTTPS,
    "ref_kind": "branch",
    "ref": "release/1.2",
    "depth": 1,
    "single_branch": True,
    "submodules": False,
    "lfs": False,
    "force": False,
    "credential_id": "c-1",
    "credential": {"kind": "token", "username": "octocat", "secret": "canary-1"},
    "host_keys": ["git.example ssh-ed25519 AAAA"],
    "schemes": ["https"],
}


def test_what_the_server_sends_is_taken() -> None:
    TOOL.check(FULL)
    TOOL.check(HTTPS)
    TOOL.check({"operation": "branches", "url": "git@git.example:ada/garden.git", "depth": None})
    assert registry()["git"] is TOOL


@pytest.mark.parametrize(
    "changed",
    [
        {"operation": "gc"},
        {"operation": None},
        {"url": ""},
        {"url": "--upload-pack=touch ran"},
        {"url": "-x"},
        {"url": "ext::sh -c touch% ran"},
        {"url": "file:///etc"},
        {"url": "git://git.example/x"},
        {"url": "/etc"},
        {"url": "https://ada:secret@git.example/x"},
        {"url": "https://git.example/x\n"},
        {"url": "https://git.example/../x"},
        {"url": ["https://git.example/x"]},
        {"url": "https://git.example/" + "x" * 2000},
        {"path": "../x"},
        {"path": "/etc"},
        {"path": ".hidden"},
        {"path": 7},
        {"ref": "--force"},
        {"ref": "a..b"},
        {"ref": "a b"},
        {"ref": ""},
        {"ref": "x\0"},
        {"ref_kind": "head"},
        {"ref_kind": "commit", "ref": "main"},
        {"depth": 0},
        {"depth": -1},
        {"depth": "1"},
        {"depth": True},
        {"depth": 10**7},
        {"submodules": "yes"},
        {"force": 1},
        {"schemes": ["ext"]},
        {"schemes": ["https"] * 300},
        {"schemes": "https"},
        {"host_keys": ["a\nb"]},
        {"host_keys": ["x" * 10_000]},
        {"host_keys": {"a": "b"}},
        {"credential": {"kind": "password", "secret": "x"}},
        {"credential": {"kind": "token"}},
        {"credential": {"kind": "token", "secret": ""}},
        {"credential": {"kind": "token", "secret": "a\nb"}},
        {"credential": {"kind": "token", "secret": "x", "helper": "!sh"}},
        {"credential": {"kind": "ssh", "secret": "x" * 70_000}},
        {"credential": "canary-1"},
        {"credential_id": "x" * 37},
        {"config": "core.fsmonitor=ran"},
        {"projects": "/etc"},
        {"attempt_id": "x"},
    ],
    ids=str,
)
def test_nothing_else_is(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        TOOL.check({**FULL, **changed})
    assert "canary" not in str(refused.value)


def test_of_a_credential_the_secret_alone_is_one() -> None:
    """Or the name of a user would blacken half of a log."""
    assert secrets_of({"task": {"input": FULL}}, TOOL.schema, TOOL.is_open) == ["canary-1"]
    key = {**FULL, "credential": {"kind": "ssh", "username": "", "secret": "-----BEGIN\nAAAABBBB\n"}}
    assert secrets_of({"task": {"input": key}}, TOOL.schema, TOOL.is_open) == ["-----BEGIN\nAAAABBBB\n"]


@pytest.mark.parametrize(
    ("changed", "is_refused"),
    [
        ({}, False),
        ({"url": "https://git.example/eve/garden"}, True),
        ({"operation": "pull", "url": "https://git.example/eve/garden"}, True),
        ({"operation": "branches", "url": "https://git.example/eve/garden"}, True),
        # What is here may be looked at and removed, whatever the rule has become.
        ({"operation": "status", "url": "https://git.example/eve/garden"}, False),
        ({"operation": "delete", "url": "https://git.example/eve/garden"}, False),
    ],
)
def test_the_owners_rule_counts_for_what_contacts_a_remote(changed: dict[str, Any], is_refused: bool) -> None:
    offer = Offer.parse({"task_id": "t", "attempt_id": "a", "tool": "git"})
    policy = Policy(repositories=("https://git.example/ada/*",))
    rule = policy.refusal(offer, TOOL, {**FULL, **changed})
    assert (rule is not None) == is_refused


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.usefixtures("no_git")
def test_without_git_it_says_that_it_does_not_work() -> None:
    found = TOOL.probe("/nowhere")
    assert (found.works, found.problem) == (False, "git isn’t installed")
