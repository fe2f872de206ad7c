"""What opens private remotes: made by people, held to its host, unreadable at rest, given to tasks alone."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from tests.projects import IS_BLOCKED, cloned, finish, is_gone
from tests.webapp.project_tasks import git_worker, project
from tests.world import WorkerOf, World, later, problem, until
from webapp.database import release, transaction
from webapp.projects import credential_schemas, credentials
from webapp.security import Keyring

TOKEN = {"name": "deploy", "kind": "token", "host": "git.example", "token": "glpat-canary-7f3e"}
KEY = {"name": "deploy key", "kind": "ssh", "host": "git.example"}
URL = "https://git.example/acme/engine.git"
SSH_URL = "git@git.example:acme/engine.git"
NOBODY = "01900000-0000-7000-8000-00000000dead"


def make(world: World, role: Any = "admin", wish: dict[str, Any] = TOKEN, **more: Any) -> Any:
    return world.api(role, "POST", "/credentials", json={**wish, **more})


def made(world: World, role: Any = "admin", wish: dict[str, Any] = TOKEN, **more: Any) -> dict[str, Any]:
    answer = make(world, role, wish, **more)
    assert answer.status_code == 201, answer.json
    return dict(answer.json)


def listed(world: World, organisation_id: str | None = None) -> list[dict[str, Any]]:
    return list(world.api("viewer", "GET", "/credentials", organisation_id).json["items"])


def online(world: World) -> WorkerOf:
    worker = git_worker(world)
    assert worker.sync().status_code == 200
    return worker


def clone(world: World, worker: WorkerOf, url: str = URL, **wish: Any) -> Any:
    said = {"git_url": url, "worker_id": worker.id, **wish}
    return world.api("operator", "POST", "/projects/clone", json=said)


def pem(key: Any, form: PrivateFormat = PrivateFormat.OpenSSH, passphrase: bytes = b"") -> str:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, lock).decode())


def ssh_keygen(*arguments: str | Path) -> str:
    return subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, check=True).stdout


# ---- made, listed, deleted


def test_a_token_is_made_listed_and_deleted_and_never_shown_again(world: World) -> None:
    first = make(world)
    said = (first.json["host"], first.json["username"], first.json["public_key"], first.json["used_at"])
    assert said == ("git.example", "git", None, None)
    assert listed(world) == [first.json]
    assert listed(world, world.other_organisation()) == []
    gone = world.api("admin", "DELETE", f"/credentials/{first.json['id']}")
    assert (gone.status_code, gone.json) == (200, {"projects": []})
    problem(world.api("admin", "DELETE", f"/credentials/{first.json['id']}"), 404, "not-found")
    shown = [first.text, str(listed(world)), gone.text, repr(world.rows("audit_entries"))]
    assert TOKEN["token"] not in "".join(shown)
    assert [len(world.audited(f"credential.{verb}")) for verb in ("create", "delete")] == [1, 1]


def test_an_ssh_key_is_made_here_and_shows_its_public_part(world: World, tmp_path: Path) -> None:
    public = made(world, wish=KEY)["public_key"]
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" garageswarm-deploy-key")
    (tmp_path / "key.pub").write_text(public)
    assert "(ED25519)" in ssh_keygen("-lf", tmp_path / "key.pub")


ED25519, RSA = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
ECDSA = ec.generate_private_key(ec.SECP256R1())
TRADITIONAL, PKCS8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
GOOD_KEYS = {
    "ed25519": pem(ED25519),
    "ed25519 in PKCS 8": pem(ED25519, PKCS8),
    "rsa": pem(RSA),
    "rsa in PEM": pem(RSA, TRADITIONAL),
    "ecdsa": pem(ECDSA),
    "ecdsa in PEM": pem(ECDSA, TRADITIONAL),
    "from Windows": pem(ED25519).replace("\n", "\r\n"),
    "pasted in the middle": f"\n\n   {pem(ED25519).strip()}   \n\n",
}


def test_a_pasted_key_is_kept_as_ssh_reads_it(world: World, tmp_path: Path) -> None:
    for name, text in GOOD_KEYS.items():
        row = made(world, wish=KEY, name=name, private_key=text)
        with world.app.app_context():
            kept = credentials.given(world.organisation_id, row["id"], SSH_URL)
            release()
        assert kept is not None
        load_ssh_private_key(kept["secret"].encode(), None)
        path = tmp_path / row["id"]
        path.touch(0o600)
        path.write_text(kept["secret"])
        assert ssh_keygen("-yf", path).split()[:2] == row["public_key"].split()[:2], name


BAD_KEYS = {
    "has a passphrase": pem(RSA, TRADITIONAL, b"secret"),
    "no private ssh key": "nonsense",
    "Paste the whole file": pem(ED25519)[:150],
    "-----END": pem(ED25519).replace("A", "*"),
    "public part": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me@there",
    "PuTTY": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none",
    "too short": pem(rsa.generate_private_key(65537, 1024), TRADITIONAL),  # noqa: S505 - that is the point
    "kind of key": pem(dsa.generate_private_key(1024), TRADITIONAL),  # noqa: S505
    "Use ed25519": pem(ec.generate_private_key(ec.SECP256K1()), TRADITIONAL),
    "as ssh-keygen made it": "",
    "from -----BEGIN": "x" * 19_000,
}


def test_a_key_that_is_of_no_use_is_refused_in_words(world: World) -> None:
    world.api_token("admin")
    with world.unchanged():
        for says, text in BAD_KEYS.items():
            body = problem(make(world, wish=KEY, private_key=text), 422, "invalid")
            assert body["errors"][0]["field"] == "private_key"
            assert says in body["detail"]


def test_a_key_with_a_passphrase_is_refused_as_ssh_keygen_makes_it(world: World, tmp_path: Path) -> None:
    ssh_keygen("-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key")
    body = problem(make(world, wish=KEY, private_key=(tmp_path / "key").read_text()), 422, "invalid")
    assert "passphrase" in body["detail"]


NOT_HOSTS = ["", "https://git.example", "git.example/acme", "git@git.example", "a b", "-x", "a,b", "*"]
NOT_HOSTS += ["git.example:0", "git.example:99999", "git.example:x", "g\u00fct.example", "x" * 256]
NONSENSE: dict[str, list[Any]] = {
    "name": ["", " ", "a\nb", "x" * 101, 5, None],
    "kind": ["password", None],
    "host": [*NOT_HOSTS, None],
    "username": ["a b", "a:b", "a\nb", "x" * 256],
    "token": ["", " ", "a b", "a\nb", "a\x7fb", "gl\u00fcck", "x" * 4001, None],
    "private_key": ["something"],
    "project_id": [NOBODY, "x", 5],
    "organisation_id": ["x"],
}


def test_what_makes_no_sense_is_refused_by_field_and_makes_nothing(world: World) -> None:
    world.api_token("admin")
    with world.unchanged():
        for field, values in NONSENSE.items():
            for value in values:
                body = problem(make(world, **{field: value}), 422, "invalid")
                assert body["errors"][0]["field"].split(".")[0] == field, (field, value, body)
                assert TOKEN["token"] not in str(body)
        assert problem(make(world, wish=KEY, token="t"), 422, "invalid")["errors"][0]["field"] == "token"


def test_a_host_is_kept_as_urls_are_read(world: World) -> None:
    for typed, host in (
        ("Git.Example", "git.example"),
        (" git.example:443 ", "git.example"),
        ("git.example:8443", "git.example:8443"),
        ("[2001:DB8::1]:8443", "[2001:db8::1]:8443"),
    ):
        assert made(world, host=typed, name=typed.strip())["host"] == host


def test_the_usual_port_of_ssh_is_another_one(world: World) -> None:
    assert made(world, wish=KEY, host="git.example:22")["host"] == "git.example"
    assert made(world, wish=KEY, host="git.example:443", name="over 443")["host"] == "git.example:443"


def test_a_name_is_there_once(world: World) -> None:
    project_id = project(world)
    made(world)
    made(world, project_id=project_id)
    with world.unchanged():
        assert "deploy already" in problem(make(world), 409, "conflict")["detail"]
        problem(make(world, project_id=project_id), 409, "conflict")


@pytest.mark.parametrize("whose", ["organisation", "project"])
def test_of_two_that_take_one_name_at_once_one_is_made(world: World, whose: str) -> None:
    world.api_token("admin")
    project_id = project(world) if whose == "project" else None
    wish = credential_schemas.NewCredential.model_validate({**TOKEN, "project_id": project_id})
    with ThreadPoolExecutor(1) as pool, world.app.app_context():
        with transaction() as session:
            credentials.create(world.person("admin"), wish)
            second = pool.submit(make, world, project_id=project_id)
            if session.get_bind().dialect.name == "postgresql":
                until(lambda: second.done() or session.scalar(IS_BLOCKED))
        release()
        assert "deploy already" in problem(second.result(50), 409, "conflict")["detail"]
    assert len(listed(world)) == 1


def test_the_longest_host_there_is_has_a_port(world: World) -> None:
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(host) == 253
    assert made(world, host=f"{host}:65535")["host"] == f"{host}:65535"


def test_a_request_that_is_sent_again_makes_nothing_again(world: World) -> None:
    answers = [
        world.api("admin", "POST", "/credentials", json=TOKEN, headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    ]
    assert answers[0].json == answers[1].json
    assert len(listed(world)) == 1
    assert TOKEN["token"] not in repr(world.rows("repeated_requests"))


def test_who_may_make_see_and_delete_them(world: World) -> None:
    project_id, others = project(world), world.other_organisation()
    of_all, own = made(world), made(world, "operator", project_id=project_id)
    for role in ("viewer", "operator"):
        world.api_token(role)
    world.api_token("admin", others)
    with world.unchanged():
        problem(make(world, "viewer", project_id=project_id), 403, "forbidden")
        problem(make(world, "operator", name="another"), 403, "forbidden")
        problem(world.api("viewer", "DELETE", f"/credentials/{own['id']}"), 403, "forbidden")
        problem(world.api("operator", "DELETE", f"/credentials/{of_all['id']}"), 403, "forbidden")
        problem(world.api("admin", "DELETE", f"/credentials/{own['id']}", others), 404, "not-found")
        theirs = {**TOKEN, "project_id": project_id}
        problem(world.api("admin", "POST", "/credentials", others, json=theirs), 422, "invalid")
    assert world.api("operator", "DELETE", f"/credentials/{own['id']}").status_code == 200


def test_pages_of_the_list(world: World) -> None:
    names = [made(world, name=f"c{number}")["name"] for number in range(3)]
    first = world.api("viewer", "GET", "/credentials?limit=2").json
    second = world.api("viewer", "GET", f"/credentials?limit=2&after={first['next']}").json
    assert [row["name"] for row in first["items"] + second["items"]] == names
    assert second["next"] is None


# ---- held to its host


ELSEWHERE = [
    (TOKEN, "https://evil.example/acme/engine.git", "is for git.example"),
    (TOKEN, "https://git.example:8443/acme/engine.git", "leads to git.example:8443"),
    (TOKEN, "https://git.example.evil.example/a.git", "is for git.example"),
    (TOKEN, SSH_URL, "a token for https"),
    (KEY, URL, "an ssh key"),
    (KEY, "ssh://git@git.example:2222/a.git", "leads to git.example:2222"),
]


def test_an_operator_cant_have_it_sent_elsewhere(world: World) -> None:
    worker = online(world)
    ids = {wish["kind"]: made(world, wish=wish)["id"] for wish in (TOKEN, KEY)}
    world.api_token("operator")
    with world.unchanged():
        for wish, url, says in ELSEWHERE:
            body = problem(clone(world, worker, url, credential_id=ids[wish["kind"]]), 422, "invalid")
            assert body["errors"][0]["field"] == "credential_id"
            assert says in body["detail"]


def test_in_the_clear_it_is_sent_nowhere_that_its_host_doesnt_name(new_world: Any) -> None:
    world = new_world(git_schemes="https,ssh,http")
    worker, url = online(world), "http://git.example/acme/engine.git"
    body = problem(clone(world, worker, url, credential_id=made(world)["id"]), 422, "invalid")
    assert "leads to git.example:80" in body["detail"]
    plain = made(world, host="git.example:80", name="in the clear")
    assert clone(world, worker, url, credential_id=plain["id"]).status_code == 202


def test_another_projects_own_and_another_organisations_arent_there(world: World) -> None:
    worker, others = online(world), world.other_organisation()
    own = made(world, project_id=project(world))
    theirs = world.api("admin", "POST", "/credentials", others, json=TOKEN).json
    world.api_token("operator")
    with world.unchanged():
        for credential, says in ((own, "another project"), (theirs, "no such"), ({"id": NOBODY}, "no such")):
            body = problem(clone(world, worker, credential_id=credential["id"]), 422, "invalid")
            assert says in body["detail"]


# ---- given to tasks


def test_a_task_gets_it_with_its_data_and_nobody_else_does(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    worker, credential_id = online(world), made(world)["id"]
    begun = clone(world, worker, credential_id=credential_id)
    assert begun.status_code == 202, begun.json
    offer = worker.take()
    value = offer["data"]["task"]["input"]
    assert value["credential"] == {"kind": "token", "username": "git", "secret": TOKEN["token"]}
    assert listed(world)[0]["used_at"] is not None
    shown = [
        begun.text,
        repr(world.task(offer["task_id"], "admin")),
        repr(world.events(offer["task_id"])),
        repr(world.stored()),
        caplog.text,
    ]
    assert TOKEN["token"] not in "".join(shown)


def test_its_use_is_noted_by_the_minute(world: World) -> None:
    credential_id = made(world)["id"]

    def use() -> None:
        with world.app.app_context():
            assert credentials.given(world.organisation_id, credential_id, URL)
            release()

    use()
    with world.unchanged():
        use()
    first = listed(world)[0]["used_at"]
    later(61)
    use()
    assert listed(world)[0]["used_at"] > first


def test_what_doesnt_speak_with_the_remote_gets_none_and_needs_none(world: World) -> None:
    worker, credential_id = online(world), made(world)["id"]
    project_id = cloned(world, worker, credential_id=credential_id)
    world.api("operator", "POST", f"/projects/{project_id}/pull")
    assert (
        finish(world, worker, project_id)["data"]["task"]["input"]["credential"]["secret"] == TOKEN["token"]
    )
    world.app.extensions["keyring"] = Keyring(Path(world.app.instance_path) / "nowhere")
    for method, path in (("POST", f"/projects/{project_id}/refresh"), ("DELETE", f"/projects/{project_id}")):
        assert world.api("operator", method, path).status_code == 202
        given = finish(world, worker, project_id)["data"]["task"]["input"]
        assert not {"credential", "credential_id"} & set(given)
    assert is_gone(world, project_id)


def test_a_missing_encryption_key_fails_what_needs_the_credential_and_nothing_else(world: World) -> None:
    worker, credential_id = online(world), made(world)["id"]
    task_id = clone(world, worker, credential_id=credential_id).json["task_id"]
    plain = world.queued_task()
    world.app.extensions["keyring"] = Keyring(Path(world.app.instance_path) / "nowhere")
    assert [offer["task_id"] for offer in worker.sync().json["offers"]] == [plain]
    assert "k1" in world.task(task_id)["attempts"][0]["error"]
    assert listed(world)[0]["used_at"] is None


def test_when_data_is_made_the_host_is_looked_at_again(world: World) -> None:
    credential_id = made(world)["id"]
    with world.app.app_context():
        for url in ("https://evil.example/a.git", SSH_URL, "http://git.example/a.git", "", "/srv/git/a"):
            assert credentials.given(world.organisation_id, credential_id, url) is None
        assert credentials.given(world.other_organisation(), credential_id, URL) is None
        release()
    assert listed(world)[0]["used_at"] is None


def test_one_that_is_typed_in_with_the_clone_is_the_projects_own(world: World) -> None:
    worker = online(world)
    own = {"kind": "token", "token": TOKEN["token"]}
    begun = clone(world, worker, credential=own)
    assert begun.status_code == 202, begun.json
    [row] = listed(world)
    assert (row["project_id"], row["host"], row["projects"]) == (
        begun.json["project_id"],
        "git.example",
        ["operator_engine"],
    )
    world.api_token("operator")
    with world.unchanged():
        problem(clone(world, worker, name="x", credential={"kind": "ssh"}), 422, "invalid")
        problem(clone(world, worker, name="x", credential={"kind": "token", "token": "a b"}), 422, "invalid")
