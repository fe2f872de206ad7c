"""Which URLs, refs and names are taken: tables, without a server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.git import names
from webapp import config
from webapp.projects.rules import (
    SCHEMES,
    USUAL_SCHEMES,
    CheckoutStatus,
    Operation,
    RefKind,
    ends_as,
    name_from,
    name_problem,
    overall,
    ref_problem,
    scheme_of,
    url_problem,
)

GOOD_URLS = [
    "https://git.example/team/app.git",
    "https://git.example:8443/app",
    "https://git.example/tëam/äpp.git",
    "https://192.0.2.7/a/b/c/d.git",
    "https://[2001:db8::1]:8443/app.git",
    "ssh://git@git.example:2222/team/app.git",
    "ssh://git.example/~ada/app.git",
    "git@git.example:team/app.git",
    "git@git.example:/srv/app.git",
    "HTTPS://git.example/app.git",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_usual_url_is_taken(url: str) -> None:
    assert url_problem(url) is None


BAD_URLS = [
    "",
    "app",
    ".",
    "..",
    "-",
    # options, whole, abbreviated, or hidden in a part
    "--upload-pack=touch /tmp/x",
    "--upload-pack=x",
    "--upl=x",
    "-ux",
    "-oProxyCommand=x",
    "https://-oProxyCommand=x/app.git",
    "ssh://-oProxyCommand=x/app.git",
    "ssh://-oProxyCommand=x@git.example/app.git",
    "ssh://git@-oProxyCommand=x/app.git",
    "-x@git.example:app.git",
    "git@-oProxyCommand=x:app.git",
    "git@git.example:-app",
    "git@git.example:--upload-pack=x",
    "git@git.example:team/-x",
    "ssh://git.example/--upload-pack=x",
    # other transports
    "ext::sh -c touch% /tmp/x",
    "ext::sh",
    "EXT::sh",
    "fd::3",
    "a@ext::sh",
    "git@ext::sh",
    "transport::https://git.example/app.git",
    "https::https://git.example/app.git",
    "file:///srv/app.git",
    "FILE:///srv/app.git",
    "file://host/srv/app.git",
    "/srv/app.git",
    "./app.git",
    "../app.git",
    "~/app.git",
    "C:\\app.git",
    "C:/app.git",
    "\\\\host\\share\\app.git",
    "git://git.example/app.git",
    "http://git.example/app.git",
    "ftp://git.example/app.git",
    "rsync://git.example/app.git",
    "javascript:alert(1)",
    # line ends, NUL and what isn't seen
    "https://git.example/app.git\n",
    "https://git.example/app.git\nurl=x",
    "https://git.example/app\0.git",
    "https://git.example/app%0a.git",
    "https://git.example/app%00.git",
    "https://git.example/a b.git",
    " https://git.example/app.git",
    "https://git.example/app\u202e.git",
    "https://git.example/app\u200b.git",
    "https://git.example\\@evil.example/app.git",
    # credentials
    "https://ada@git.example/app.git",
    "https://ada:secret@git.example/app.git",
    "https://:secret@git.example/app.git",
    "ssh://git:secret@git.example/app.git",
    "https://git.example/app.git?private_token=secret",
    "https://git.example/app.git#x",
    # no host, no repository, or a way up
    "https://",
    "https:///app.git",
    "https://git.example",
    "https://git.example/",
    "https://git.example:/app.git",
    "https://git.example:0/app.git",
    "https://git.example:99999/app.git",
    "https://git.example:port/app.git",
    "https://git_.example-/app.git",
    "https://$(touch x)/app.git",
    "https://`x`/app.git",
    "https://git.example/../app.git",
    "git@git.example:../app.git",
    "git@git.example:",
    "https://git.example/" + "a" * 2000,
]


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_what_git_could_take_for_something_else_is_refused(url: str) -> None:
    problem = url_problem(url)
    assert problem
    assert "secret" not in problem


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_whatever_schemes_are_allowed_no_url_is_an_option_or_runs_a_program(url: str) -> None:
    if url_problem(url, SCHEMES) is None:
        assert scheme_of(url) in ("file", "git", "http")


def test_the_agent_takes_and_refuses_the_same_by_itself() -> None:
    """It doesn't rely on the server: whoever has taken that over still can't have git run anything."""
    schemes = list(USUAL_SCHEMES)
    for url in GOOD_URLS:
        assert names.check_url(url, schemes)
    let_in = [url for url in BAD_URLS if agent_takes(lambda url=url: names.check_url(url, schemes))]
    # Two as ssh’s host:path without a user, two as paths whose % nobody but the remote decodes.
    harmless = [
        "C:/app.git",
        "javascript:alert(1)",
        "https://git.example/app%0a.git",
        "https://git.example/app%00.git",
    ]
    assert let_in == harmless
    for kind, ref in [*GOOD_REFS, *BAD_REFS]:
        if kind != "default":
            check = names.check_commit if kind == "commit" else names.check_ref
            is_good = (kind, ref) in GOOD_REFS
            assert agent_takes(lambda check=check, ref=ref: check(ref)) is is_good, (kind, ref)


def agent_takes(check: Callable[[], object]) -> bool:
    try:
        check()
    except names.BadName:
        return False
    return True


@pytest.mark.parametrize(
    ("url", "scheme"),
    [("file:///srv/app.git", "file"), ("http://git.example/a", "http"), ("git://git.example/a", "git")],
)
def test_an_admin_may_allow_more(url: str, scheme: str) -> None:
    assert url_problem(url, ("https", scheme)) is None
    assert scheme in str(url_problem(url))


GOOD_REFS: list[tuple[RefKind, str]] = [
    ("default", ""),
    ("branch", "main"),
    ("branch", "release/1.2"),
    ("branch", "fix-#42"),
    ("branch", "größe"),
    ("branch", "a" * 255),
    ("branch", "ä" * 127),
    ("tag", "v1.0.0-rc.1"),
    ("commit", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
    ("commit", "a" * 64),
]


@pytest.mark.parametrize(("kind", "ref"), GOOD_REFS)
def test_a_usual_ref_is_taken(kind: RefKind, ref: str) -> None:
    assert ref_problem(kind, ref) is None


NO_NAMES = [
    "",
    "-",
    "-x",
    "--upload-pack=x",
    "--upl=x",
    "a..b",
    "a b",
    "a\n",
    "a\0",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[b",
]
NO_NAMES += [
    "a\\b",
    "/a",
    "a/",
    "a//b",
    ".a",
    "a/.b",
    "a.",
    "a.lock",
    "a.lock/b",
    "a@{1}",
    "@",
    "HEAD",
    "a\u202eb",
    "a\x7f",
]
NO_NAMES += ["a" * 256, "ä" * 128]
NO_COMMITS = [
    "",
    "HEAD",
    "-x",
    "4b825dc",
    "4B825DC642CB6EB9A060E54BF8D69288FBEE4904",
    "a" * 41,
    "a" * 40 + "\n",
    "g" * 40,
]
BAD_REFS: list[tuple[RefKind, str]] = [
    ("default", "main"),
    *(("branch", name) for name in NO_NAMES),
    *(("tag", name) for name in NO_NAMES),
    *(("commit", name) for name in NO_COMMITS),
]


@pytest.mark.parametrize(("kind", "ref"), BAD_REFS, ids=ascii)
def test_what_git_itself_takes_for_no_ref_is_refused(kind: RefKind, ref: str) -> None:
    assert ref_problem(kind, ref)


@pytest.mark.parametrize("name", ["app", "App.2", "a_b-c", "7", "a" * 100])
def test_a_usual_name_is_taken(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-x",
        ".git",
        "app.git",
        "app.GIT",
        "app.lock",
        "app.",
        "a/b",
        "a\\b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a" * 101,
    ],
    ids=ascii,
)
def test_what_is_no_good_folder_is_no_name(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example/team/app.git", "app"),
        ("git@git.example:app.git/", "app"),
        ("https://git.example/Größe.git", "Gr-e"),
        ("https://git.example/...", ""),
    ],
)
def test_a_url_suggests_a_name(url: str, name: str) -> None:
    assert name_from(url) == name


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        ("clone", "pending", "error"),
        ("clone", "error", "error"),
        ("pull", "active", "active"),
        ("pull", "error", "error"),
        ("delete", "active", "active"),
        ("delete", "error", "error"),
    ],
)
def test_without_a_word_a_checkout_is_what_it_was(
    operation: Operation, before: CheckoutStatus, after: CheckoutStatus
) -> None:
    assert ends_as(operation, before) == after


def test_a_project_is_what_a_person_should_look_at_first() -> None:
    assert overall([]) is None
    assert overall(["active", "active"]) == "active"
    assert overall(["active", "syncing", "pending"]) == "syncing"
    assert overall(["active", "error", "deleting"]) == "error"


@pytest.mark.parametrize("value", ["ext", "https,ext", "ftp", "", ",", "https ssh", "--upload-pack"])
def test_a_scheme_that_isnt_known_stops_the_start(value: str) -> None:
    with pytest.raises(ValueError, match="some of https,ssh,http,git,file"):
        config.Settings(git_schemes=value)


def test_schemes_are_read_leniently_otherwise() -> None:
    assert config.Settings(git_schemes=" SSH, https,ssh").allowed_schemes == ("ssh", "https")
    assert config.Settings().allowed_schemes == ("https", "ssh")
