"""What opens private remotes: made by people, held to its host, unreadable at rest, given to tasks alone."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.world import World, problem

TOKEN = {"name": "deploy", "kind": "token", "host": "git.example", "token": "glpat-canary-7f3e"}
KEY = {"name": "deploy key", "kind": "ssh", "host": "git.example"}


def make(world: World, role: Any = "admin", wish: dict[str, Any] = TOKEN, **more: Any) -> Any:
    return world.api(role, "POST", "/credentials", json={**wish, **more})


def listed(world: World, organisation_id: str | None = None) -> list[dict[str, Any]]:
    return list(world.api("viewer", "GET", "/credentials", organisation_id).json["items"])


def pem(key: Any, form: PrivateFormat = PrivateFormat.OpenSSH, passphrase: bytes = b"") -> str:
    lock = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, form, lock).decode())


def test_a_token_is_made_listed_and_deleted_and_never_shown_again(world: World) -> None:
    made = make(world)
    assert made.status_code == 201, made.json
    assert (made.json["host"], made.json["username"], made.json["public_key"]) == ("git.example", "git", None)
    assert listed(world) == [made.json]
    assert listed(world, world.other_organisation()) == []
    gone = world.api("admin", "DELETE", f"/credentials/{made.json['id']}")
    assert (gone.status_code, gone.json) == (200, {"projects": []})
    problem(world.api("admin", "DELETE", f"/credentials/{made.json['id']}"), 404, "not-found")
    said = [made.text, str(listed(world)), gone.text, repr(world.rows("audit_entries"))]
    assert TOKEN["token"] not in "".join(said)
    assert [len(world.audited(f"credential.{verb}")) for verb in ("create", "delete")] == [1, 1]
