"""ssh servers' keys: pinned by whoever comes first, never replaced by what a worker says later, forgotten by admins."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.projects import begin, checkout, clone, git_worker, tell
from tests.world import WorkerOf, World, at_once, problem
from webapp.database import release
from webapp.extensions import db
from webapp.projects import host_keys, hosts, ssh_keys
from webapp.workers.models import Worker

URL = "ssh://git@git.example/acme/engine.git"
OFF_PORT = "ssh://git@git.example:2222/acme/engine.git"


def public(key: Any = None) -> str:
    """`type base64` of a new key."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    return str(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def learn(world: World, worker: WorkerOf, *lines: str, url: str = URL) -> list[str]:
    with world.app.app_context():
        found = host_keys.learn(world.organisation_id, url, lines, db.session.get_one(Worker, worker.id))
        release()
    return found


def lines(world: World, url: str = URL, organisation_id: str | None = None) -> list[str]:
    with world.app.app_context():
        found = host_keys.lines_for(organisation_id or world.organisation_id, url)
        release()
    return found


@pytest.mark.parametrize(
    ("url", "host", "name"),
    [
        ("https://github.com/a/b.git", "github.com", ""),
        ("https://GitHub.com:443/a/b", "github.com", ""),
        ("https://git.example:8443/a", "git.example:8443", ""),
        ("https://token@git.example/a", "git.example", ""),
        ("http://git.example/a", "git.example:80", ""),
        ("http://127.0.0.1:5000/a", "127.0.0.1:5000", ""),
        ("ssh://git@git.example/a", "git.example", "git.example"),
        ("ssh://git@git.example:22/a", "git.example", "git.example"),
        ("ssh://git@git.example:2222/a", "git.example:2222", "[git.example]:2222"),
        ("git@git.example:a/b.git", "git.example", "git.example"),
        ("git.example:a/b.git", "git.example", "git.example"),
        ("ssh://git@[2001:db8::1]/a", "[2001:db8::1]", "2001:db8::1"),
        ("ssh://git@[2001:db8::1]:2222/a", "[2001:db8::1]:2222", "[2001:db8::1]:2222"),
        ("https://git.example:99999/a", "", ""),
        ("https:///a", "", ""),
        ("/srv/git/a", "", ""),
        ("file:///srv/git/a", "", ""),
        ("ssh://-oProxyCommand=x/a", "", ""),
        ("ssh://a b/c", "", ""),
        ("", "", ""),
    ],
)
def test_a_host_is_read_from_a_url(url: str, host: str, name: str) -> None:
    assert (hosts.host_of(url), hosts.known_hosts_name(url)) == (host, name)


def test_a_key_is_pinned_by_the_first_worker_and_shown_as_ssh_keygen_does(
    world: World, tmp_path: Path
) -> None:
    keys = [
        public(),
        public(rsa.generate_private_key(65537, 2048)),
        public(ec.generate_private_key(ec.SECP256R1())),
    ]
    found = [f"git.example {key}" for key in keys]
    assert learn(world, world.worker(), *found) == []
    assert sorted(lines(world)) == sorted(found)
    assert lines(world, OFF_PORT) == [], "another port is another server"
    assert lines(world, "https://git.example/acme/engine.git") == []
    assert lines(world, URL, world.other_organisation()) == []
    (tmp_path / "known_hosts").write_text("\n".join(found) + "\n")
    said = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "known_hosts"], capture_output=True, text=True, check=True
    ).stdout
    for row in world.rows("host_keys"):
        assert row["fingerprint"] in said
        assert row["worker_name"] == "lab-01"
    assert len(world.audited("host-key.pin")) == 3


def test_the_longest_host_there_is_has_a_port(world: World) -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    url, key = f"ssh://git@{name}:65535/a.git", public()
    assert learn(world, world.worker(), f"[{name}]:65535 {key}", url=url) == []
    assert lines(world, url) == [f"[{name}]:65535 {key}"]
    assert world.api("admin", "DELETE", f"/host-keys?host=[{name}]:65535").status_code == 204


def test_said_again_it_changes_nothing(world: World) -> None:
    worker, line = world.worker(), f"git.example {public()}"
    learn(world, worker, line)
    with world.unchanged():
        assert learn(world, worker, line) == []


def test_a_different_key_later_is_told_and_never_stored(world: World) -> None:
    line = f"git.example {public()}"
    learn(world, world.worker(), line)
    other, of_another_kind = public(), public(ec.generate_private_key(ec.SECP256R1()))
    second = world.worker("lab-02")
    for key in (other, of_another_kind):
        [fingerprint] = learn(world, second, f"git.example {key}")
        assert fingerprint == ssh_keys.read_host_line(f"h {key}").fingerprint
        [row] = world.rows("host_keys")
        assert (row["other_fingerprint"], row["other_seen_by"]) == (fingerprint, "lab-02")
        assert lines(world) == [line]
    learn(world, second, f"git.example {of_another_kind}")
    assert len(world.audited("host-key.refuse")) == 2, "the same again is no news"


def test_of_two_workers_that_come_first_at_once_one_pins(world: World) -> None:
    first, second = world.worker("lab-01"), world.worker("lab-02")
    keys = [public(), public(ec.generate_private_key(ec.SECP256R1()))]
    found = at_once(
        lambda: learn(world, first, f"git.example {keys[0]}"),
        lambda: learn(world, second, f"git.example {keys[1]}"),
    )
    assert sorted(map(len, found)) == [0, 1]
    assert len(world.rows("host_keys")) == 1


def strange_lines() -> list[str]:
    key_type, text = public().split()
    blob = base64.b64decode(text)
    return [
        f"other.example {key_type} {text}",
        f"[git.example]:2222 {key_type} {text}",
        f"git.example,10.0.0.1 {key_type} {text}",
        f"*.example {key_type} {text}",
        f"@cert-authority git.example {key_type} {text}",
        f"|1|c2FsdA==|aGFzaA== {key_type} {text}",
        f"git.example {key_type} {text} comment",
        f"git.example  {key_type} {text}",
        f"git.example ssh-rsa {text}",
        f"git.example ssh-dss {text}",
        f"git.example ssh-ed25519-cert-v01@openssh.com {text}",
        f"git.example {key_type} {text}\ngit.example {key_type} {text}",
        f"git.example {key_type} {text[:-8]}",
        f"git.example {key_type} {base64.b64encode(blob + b'more').decode()}",
        f"git.example {key_type} {text[:10]}\u00e9{text[10:]}",
        f"git.example {key_type} !!!!",
        f"git.example {key_type} " + "A" * 5000,
        f"git.example {key_type}",
        "# a comment",
        "",
        "\x00",
    ]


def test_what_isnt_a_plain_line_about_this_host_pins_nothing(world: World) -> None:
    worker = world.worker()
    with world.unchanged():
        for line in strange_lines():
            assert learn(world, worker, line) == [], line


def test_a_worker_pins_nothing_for_a_url_without_ssh(world: World) -> None:
    worker = world.worker()
    with world.unchanged():
        learn(world, worker, f"git.example {public()}", url="https://git.example/acme/engine.git")


# ---- on the way of a task


def test_the_first_clone_brings_the_key_and_the_next_one_is_held_to_it(world: World) -> None:
    line = f"git.example {public()}"
    worker = git_worker(world)
    project_id = clone(world, worker, git_url=URL).json["project_id"]
    offer = begin(worker)
    assert offer["data"]["task"]["input"]["host_keys"] == []
    assert tell(worker, project_id, offer, host_keys=[line, f"evil.example {public()}"]).status_code == 200
    worker.report(offer)
    assert [row["host"] for row in world.rows("host_keys")] == ["git.example"]
    second = git_worker(world, "lab-02")
    clone(world, second, name="other", git_url="git@git.example:acme/other.git")
    assert begin(second)["data"]["task"]["input"]["host_keys"] == [line]


def test_a_checkout_says_when_its_worker_was_shown_another_key(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker, git_url=URL).json["project_id"]
    offer = begin(worker)
    learn(world, worker, f"git.example {public()}")
    tell(worker, project_id, offer, host_keys=[f"git.example {public()}"])
    assert "another key" in checkout(world, project_id)["error"]
    assert len(world.rows("host_keys")) == 1


# ---- people


def test_they_are_listed_in_pages_for_those_of_the_organisation(world: World) -> None:
    worker = world.worker()
    for host in ("b.example", "a.example", "[a.example]:2222"):
        url = "ssh://git@a.example:2222/x" if ":" in host else f"ssh://git@{host}/x"
        learn(world, worker, f"{host} {public()}", url=url)
    found, after = [], ""
    while after is not None:
        page = world.api("viewer", "GET", f"/host-keys?limit=1&after={quote(after)}").json
        found += page["items"]
        after = page["next"]
    assert sorted(row["host"] for row in found) == ["[a.example]:2222", "a.example", "b.example"]
    assert (found[0]["worker_id"], found[0]["worker"], found[0]["other_fingerprint"]) == (
        worker.id,
        "lab-01",
        None,
    )
    assert world.api("viewer", "GET", "/host-keys", world.other_organisation()).json["items"] == []


def test_an_admin_forgets_a_hosts_keys_and_the_next_worker_pins_anew(world: World) -> None:
    old, new = f"git.example {public()}", f"git.example {public()}"
    worker = world.worker()
    learn(world, worker, old)
    path = "/host-keys?host=git.example"
    world.api_token("operator")
    world.api_token("admin", world.other_organisation())
    with world.unchanged():
        problem(world.api("operator", "DELETE", path), 403, "forbidden")
        problem(world.api("admin", "DELETE", path, world.other_organisation()), 404, "not-found")
        problem(world.api("admin", "DELETE", "/host-keys"), 422, "invalid")
    assert world.api("admin", "DELETE", path).status_code == 204
    problem(world.api("admin", "DELETE", path), 404, "not-found")
    [entry] = world.audited("host-key.forget")
    assert "SHA256:" in str(entry["before"])
    assert learn(world, worker, new) == []
    assert lines(world) == [new]
