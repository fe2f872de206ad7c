"""What the git program takes, and what it makes of what git says: no git runs here."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest

from agent import git as runner
from agent.git import extras, names, program, wish
from agent.git.failures import GitFailed, cleaned
from agent.git.leftovers import sweep
from agent.git.progress import Reporter, Said
from agent.git.remote import parsed
from tests.git.wishes import BAD_COMMITS, BAD_PATHS, BAD_REFS, BAD_URLS, MISTAKEN_URLS

SOUND: dict[str, Any] = {
    "operation": "clone",
    "url": "https://git.example/app.git",
    "schemes": ["https", "ssh"],
    "attempt_id": "a-1",
    "projects": "/srv/projects",
    "mirrors": "/srv/mirrors",
    "path": "mira_app",
}


@pytest.mark.parametrize(
    "changed",
    [
        *({"url": url} for url in BAD_URLS),
        *({"ref_kind": kind, "ref": ref} for kind in ("branch", "tag") for ref in BAD_REFS),
        *({"ref_kind": "commit", "ref": ref} for ref in BAD_COMMITS),
        *({"path": path} for path in BAD_PATHS),
        {"operation": "gc"},
        {"operation": None},
        {"schemes": ["ext"], "url": "ext::sh"},
        {"schemes": "https"},
        {"depth": 0},
        {"depth": True},
        {"depth": "1"},
        {"force": "yes"},
        {"attempt_id": "../x"},
        {"projects": "projects"},
        {"credential": {"kind": "token", "secret": ""}},
        {"credential": {"kind": "token", "secret": "a\nb"}},
        {"credential": "secret"},
        {"repositories": ["https://other.example/**"]},
    ],
    ids=repr,
)
def test_what_is_not_sound_is_refused_whoever_asks(changed: dict[str, Any]) -> None:
    wish.parsed(SOUND)
    with pytest.raises(wish.BadWish):
        wish.parsed({**SOUND, **changed})


@pytest.mark.parametrize("url", MISTAKEN_URLS)
def test_what_looks_like_another_address_is_ssh_at_most(url: str) -> None:
    assert names.scheme_of(url) == "ssh"


def test_the_secret_is_gone_from_the_folder_once_it_was_read(tmp_path: Path) -> None:
    credential = {"kind": "token", "username": "mira", "secret": "s3cret-s3cret"}
    runner.prepare(tmp_path / "git", {**SOUND, "credential": credential})
    path = tmp_path / "git" / "git.json"
    assert path.stat().st_mode & 0o777 == 0o600
    found = wish.read(tmp_path / "git")
    assert found.credential is not None
    assert found.credential.secret == "s3cret-s3cret"
    assert "s3cret" not in repr(found)
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "base", "found"),
    [
        ("https://other.example/x", "https://git.example/a/b", "https://other.example/x"),
        ("../c", "https://git.example/a/b.git", "https://git.example/a/c"),
        ("../../c", "https://git.example/a/b", "https://git.example/c"),
        ("./c", "https://git.example/a/b/", "https://git.example/a/b/c"),
        ("../c", "git@git.example:a/b", "git@git.example:a/c"),
        ("../c", "git@git.example:b", "git@git.example:c"),
    ],
)
def test_a_submodules_address_counts_from_its_repositorys(url: str, base: str, found: str) -> None:
    assert names.resolved(url, base) == found


def test_a_submodules_address_stays_on_its_server() -> None:
    with pytest.raises(names.BadName):
        names.resolved("../../../c", "https://git.example/a/b")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Git.Example/a", "git.example"),
        ("https://git.example:443/a", "git.example"),
        ("https://git.example:8443/a", "git.example:8443"),
        ("ssh://git@git.example:2222/a", "git.example:2222"),
        ("git@git.example:a", "git.example"),
        ("https://[::1]:8443/a", "[::1]:8443"),
    ],
)
def test_a_host_is_named_with_the_port_that_is_not_its_own(url: str, host: str) -> None:
    assert names.host_of(url) == host


def test_only_whole_lines_come_into_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(Reporter(tmp_path / "progress.json"))
    text = b"".join(
        b"Receiving objects:  %d%% (%d/100), 1.00 MiB | 2.00 MiB/s\r" % (n, n) for n in range(100)
    )
    text += b"Receiving objects: 100% (100/100), 2.00 MiB | 2.00 MiB/s, done.\nremote: \x1b[Khello\x1b[K\nfatal: x"
    for at in range(0, len(text), 7):
        said.feed(text[at : at + 7])
    said.close()
    assert capsys.readouterr().out.splitlines() == [
        "Receiving objects: 100% (100/100), 2.00 MiB | 2.00 MiB/s, done.",
        "remote: hello",
        "fatal: x",
    ]
    assert said.lines == ["remote: hello", "fatal: x"]
    told = json.loads((tmp_path / "progress.json").read_bytes())
    assert (told["stage"], told["step_id"], told["progress"]) == ("fetching", "receiving", 100)
    assert told["message"] == "2.00 MiB, 2.00 MiB/s"


def test_a_line_without_an_end_does_not_fill_the_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(Reporter(tmp_path / "progress.json"))
    for _ in range(100):
        said.feed(b"x" * 10_000)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 8 * 1024
    assert sum(map(len, said.lines)) < 1_000_000


@pytest.mark.parametrize(
    ("said", "words", "is_away"),
    [
        ("fatal: Authentication failed for 'https://git.example/a/'", "refused the login", False),
        (
            "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
            "login",
            False,
        ),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", "was not found", False),
        (
            "git@x: Permission denied (publickey).\nfatal: Could not read from remote",
            "refused the login",
            False,
        ),
        ("Host key verification failed.\nfatal: Could not read from remote", "another host key", False),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "can’t be reached", True),
        ("ssh: connect to host x port 22: Connection refused", "can’t be reached", True),
        ("error: RPC failed; curl 18\nfatal: early EOF", "went away in the middle", True),
        (
            "fatal: unable to access 'https://x/': The requested URL returned error: 503",
            "can’t be reached",
            True,
        ),
        ("fatal: write error: No space left on device", "the disk is full", False),
        ("fatal: transport 'ext' not allowed", "not allowed here", False),
        (
            "error: object 1: gitmodulesUrl: disallowed submodule url\nfatal: fsck error in pack",
            "dangerous",
            False,
        ),
        ("fatal: something new", "fatal: something new", False),
    ],
)
def test_failures_say_what_to_do(said: str, words: str, is_away: bool) -> None:
    error = GitFailed(128, said.splitlines())
    failed = error.for_people("The clone failed", "https://git.example/a", "git.example")
    assert words in str(failed)
    assert (error.is_away, "\n" in str(failed)) == (is_away, False)
    assert (failed.failure_class == "disk_low") == ("disk" in words)


def test_a_strangers_text_is_one_short_clean_line() -> None:
    text = cleaned("a\x1b[31m\u202eb\n\tc\x00" + "x" * 2000)
    assert text.startswith("a [31m b c xxx")
    assert len(text) == 900


def test_a_remotes_list_is_read_with_tags_that_lead_to_commits() -> None:
    one, two = "1" * 40, "2" * 40
    text = f"ref: refs/heads/main\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/main\n{two}\trefs/pull/1/head\n"
    refs = parsed(text + f"{two}\trefs/tags/v1\n{one}\trefs/tags/v1^{{}}\nnonsense\n")
    assert (refs.heads, refs.tags, refs.default) == ({"main": one}, {"v1": one}, "main")
    for name in ("-x", "HEAD", "a b", "a..b", "../x", "a\x1b"):
        text = f"ref: refs/heads/{name}\tHEAD\n{one}\trefs/heads/{name}\n{one}\trefs/tags/{name}\n"
        assert parsed(text).is_empty
        assert parsed(text).default is None
    assert parsed(f"ref: refs/heads/gone\tHEAD\n{one}\trefs/heads/main\n").default is None


def test_only_what_git_left_half_done_is_swept(tmp_path: Path) -> None:
    kept = [".mira_app.alive.partial", "mira_app", ".hidden", ".mira_app.partial.txt"]
    for name in [*kept, ".mira_app.dead.partial", ".mira_app.dead-2.gone"]:
        (tmp_path / name).mkdir()
    sweep(tmp_path, {"alive"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_is_said_is_utf_8_whatever_the_machines_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(said, encoding="latin-1"))
    monkeypatch.setattr("sys.argv", ["git.pyz", str(tmp_path / "żółw")])
    (tmp_path / "żółw").mkdir()
    with pytest.raises(SystemExit) as ended:
        program.start()
    assert ended.value.code == program.BAD_WISH
    assert "żółw/git.json" in said.getvalue().decode()


@pytest.mark.parametrize("is_one_disk", [True, False])
def test_a_large_file_is_linked_or_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_one_disk: bool
) -> None:
    def on_another_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if not is_one_disk:
        monkeypatch.setattr(Path, "hardlink_to", on_another_disk)
    (tmp_path / "source").write_bytes(b"large")
    (tmp_path / "target.half").write_bytes(b"what was cut off before")
    extras.link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"large"
    assert (tmp_path / "source").stat().st_nlink == (2 if is_one_disk else 1)
