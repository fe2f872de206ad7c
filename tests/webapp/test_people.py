"""People, their roles and sessions, and what an admin does with a shell on the server."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import Result
from flask.cli import FlaskGroup

from tests.webapp.refusals import refusal_of
from tests.world import PASSWORD, World, at_once, later, problem
from webapp.auth import service, sessions, tokens
from webapp.auth.actor import Actor
from webapp.database import release
from webapp.errors import Conflict, GarageError, Invalid, NotFound, NotSignedIn

WHERE = "127.0.0.1"


def member_id(world: World, name: str) -> str:
    people = {row["id"]: row["name"] for row in world.rows("users")}
    return next(str(row["id"]) for row in world.rows("members") if people[row["user_id"]] == name)


def session_of(world: World, name: str, password: str = PASSWORD) -> str:
    with world.app.app_context():
        secret = sessions.sign_in(name, password, WHERE, 30)
        release()
    return secret


def actor_of(world: World, secret: str) -> Actor | None:
    with world.app.app_context():
        actor = sessions.actor_of(secret, WHERE)
        release()
    return actor


def run(world: World, *words: str) -> Result:
    """As `flask --app wsgi …` does it."""
    group = FlaskGroup(create_app=lambda: world.app)
    return world.app.test_cli_runner().invoke(group, list(words))


def refused(world: World, *words: str) -> str:
    """What the command line says when it refuses, having stored nothing and shown no trace."""
    with world.unchanged():
        result = run(world, *words)
    assert result.exit_code != 0, result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


# ---- the command line


def test_a_person_is_made_with_a_password_on_the_last_line(world: World) -> None:
    result = run(world, "create-user", "ada", "--role", "approver")
    assert result.exit_code == 0, result.output
    password = result.output.splitlines()[-1]
    actor = actor_of(world, session_of(world, "ada", password))
    assert actor is not None
    assert (actor.name, actor.role) == ("ada", "approver")
    [entry] = world.audited("member.add")
    assert (entry["actor"], entry["target"]) == ("system", "ada")
    assert password not in repr(world.stored())


BAD_PEOPLE: list[list[str]] = [
    ["Ada"],
    ["ada_lovelace"],
    ["-ada-"],
    [""],
    ["a" * 65],
    ["ada\n"],
    ["ada", "--password", "short"],
    ["ada", "--password", "x" * 1001],
    ["ada", "--password", "ada-ada-ada"],
    ["ada", "--role", "owner"],
    [],
]


def test_a_name_or_a_password_that_is_no_good_is_refused(world: World) -> None:
    for words in BAD_PEOPLE:
        assert refused(world, "create-user", *words)


def test_a_name_that_is_taken_is_refused(world: World) -> None:
    world.person("viewer")
    assert "already" in refused(world, "create-user", "viewer", "--password", "long enough here")


def test_an_api_token_on_the_last_line_works_as_that_person(world: World) -> None:
    world.person("operator")
    world.worker()
    result = run(world, "create-token", "operator", "--name", "ci")
    token = result.output.splitlines()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    body = {"tool": "noop", "input": {}}
    answer: Any = world.app.test_client().post("/api/v1/tasks", json=body, headers=headers)
    assert answer.json["submitted_by"] == "operator"
    assert token[13:] not in repr(world.stored())


def test_a_token_for_nobody_or_for_somebody_who_isnt_a_member_is_refused(world: World) -> None:
    assert "create-user" in refused(world, "create-token", "nobody")
    world.person("admin")
    world.person("viewer")
    with world.app.app_context():
        service.remove_member(world.as_system(), member_id(world, "viewer"))
        release()
    refused(world, "create-token", "viewer")
    refused(world, "create-token", "admin", "--name", " ")
    refused(world, "create-token", "admin", "--name", "x" * 256)


def test_a_join_token_on_the_last_line_enrols_with_its_labels(world: World) -> None:
    result = run(world, "create-join-token", "--uses", "2", "--label", "gpu=3060", "--label", "quiet")
    token = result.output.splitlines()[-1]
    for name in ("lab-01", "lab-02"):
        worker = world.registered(name, join_token=token)
        labels = world.api("viewer", "GET", f"/workers/{worker.id}").json["labels"]
        assert labels == {"gpu": "3060", "quiet": ""}


def test_a_join_token_from_the_command_line_may_set_the_slots_and_leave_approving_to_an_admin(
    world: World,
) -> None:
    token = run(world, "create-join-token", "--slots", "5", "--no-approve").output.splitlines()[-1]
    worker = world.registered("lab-01", join_token=token)
    shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
    assert (shown["slots"], shown["status"]) == (5, "pending")


BAD_JOIN_TOKENS: list[list[str]] = [
    ["--uses", "-1"],
    ["--uses", str(10**12)],
    ["--hours", "-1"],
    ["--hours", "nan"],
    ["--hours", "inf"],
    ["--hours", "1e12"],
    ["--label", "=c"],
    ["--slots", "0"],
    ["--name", " "],
]


def test_a_join_token_that_makes_no_sense_is_refused(world: World) -> None:
    for words in BAD_JOIN_TOKENS:
        assert refused(world, "create-join-token", *words), words


def test_a_new_password_is_on_the_last_line_and_ends_every_session(world: World) -> None:
    world.person("viewer")
    before = session_of(world, "viewer")
    result = run(world, "reset-password", "viewer")
    password = result.output.splitlines()[-1]
    assert actor_of(world, before) is None
    with pytest.raises(NotSignedIn):
        session_of(world, "viewer")
    assert actor_of(world, session_of(world, "viewer", password)) is not None
    assert "nobody" in refused(world, "reset-password", "nobody")
    refused(world, "reset-password", "viewer", "--password", "short")


# ---- sessions end


def test_signing_in_wrongly_says_the_same_of_a_wrong_name_and_a_wrong_password(world: World) -> None:
    world.person("viewer")
    said = set()
    with world.unchanged():
        for name, password in (
            ("viewer", "wrong password"),
            ("nobody", PASSWORD),
            ("", ""),
            ("viewer", "x" * 10_000),
        ):
            with pytest.raises(NotSignedIn) as caught:
                session_of(world, name, password)
            said.add(caught.value.detail)
    assert len(said) == 1


def test_a_session_ends_with_its_time(world: World) -> None:
    world.person("viewer")
    secret = session_of(world, "viewer")
    later(30 * 24 * 3600 - 60)
    assert actor_of(world, secret) is not None
    later(120)
    assert actor_of(world, secret) is None
    with world.app.app_context():
        sessions.forget_expired()
        release()
    assert world.rows("login_sessions") == []


def test_signing_out_ends_this_session_and_no_other(world: World) -> None:
    world.person("viewer")
    first, second = session_of(world, "viewer"), session_of(world, "viewer")
    actor = actor_of(world, first)
    assert actor is not None
    with world.app.app_context():
        sessions.sign_out(actor)
        release()
    assert actor_of(world, first) is None
    assert actor_of(world, second) is not None


def test_a_changed_role_holds_from_the_next_request(world: World) -> None:
    world.person("admin")
    world.worker()
    assert world.submit("operator").status_code == 201
    secret = session_of(world, "operator")
    with world.app.app_context():
        service.change_role(world.as_system(), member_id(world, "operator"), "viewer")
        release()
    actor = actor_of(world, secret)
    assert actor is not None
    assert actor.role == "viewer"
    problem(world.submit("operator"), 403, "forbidden")
    [entry] = world.audited("member.role")
    assert (entry["target"], "operator" in str(entry["before"]), "viewer" in str(entry["after"])) == (
        "operator",
        True,
        True,
    )


def test_a_removed_member_is_out_at_once_with_sessions_and_tokens(world: World) -> None:
    world.person("admin")
    secret, token = session_of(world, world.person("operator").name), world.api_token("operator")
    assert world.api("operator", "GET", "/tasks").status_code == 200
    with world.app.app_context():
        service.remove_member(world.as_system(), member_id(world, "operator"))
        release()
    assert actor_of(world, secret) is None
    assert token
    problem(world.api("operator", "GET", "/tasks"), 401, "unauthorized")
    with pytest.raises(NotSignedIn):
        session_of(world, "operator")


def test_an_expired_api_token_is_refused_like_an_unknown_one(world: World) -> None:
    viewer = world.person("viewer")
    with world.app.app_context():
        token = tokens.create(viewer, "short-lived", days=1)
        release()
    headers = {"Authorization": f"Bearer {token}"}
    assert world.app.test_client().get("/api/v1/tasks", headers=headers).status_code == 200
    later(24 * 3600 + 1)
    expired = world.app.test_client().get("/api/v1/tasks", headers=headers)
    unknown = world.app.test_client().get(
        "/api/v1/tasks", headers={"Authorization": "Bearer gst_" + "x" * 58}
    )
    problem(expired, 401, "unauthorized")
    assert refusal_of(expired) == refusal_of(unknown)


def test_a_token_of_a_nonsensical_age_is_refused(world: World) -> None:
    viewer = world.person("viewer")
    with world.unchanged(), world.app.app_context():
        for days in (0, -1, 10**9):
            with pytest.raises(Invalid):
                tokens.create(viewer, "odd", days=days)
        release()


def test_a_person_revokes_their_own_token_and_nobody_elses(world: World) -> None:
    mine, theirs = world.person("operator"), world.person("viewer")
    key_id = world.api_token("viewer")[4:12]
    with world.app.app_context():
        with pytest.raises(NotFound):
            tokens.revoke(mine, key_id)
        release()
    assert world.api("viewer", "GET", "/tasks").status_code == 200
    with world.app.app_context():
        tokens.revoke(theirs, key_id)
        release()
    problem(world.api("viewer", "GET", "/tasks"), 401, "unauthorized")


# ---- the last admin


@pytest.mark.parametrize("act", ["remove", "demote"])
def test_the_last_admin_stays(world: World, act: str) -> None:
    def do(name: str) -> None:
        with world.app.app_context():
            try:
                if act == "remove":
                    service.remove_member(world.as_system(), member_id(world, name))
                else:
                    service.change_role(world.as_system(), member_id(world, name), "viewer")
            finally:
                release()

    world.person("admin")
    with world.app.app_context():
        service.add_member(world.as_system(), "second", PASSWORD, "admin")
        release()
    do("second")
    with world.unchanged(), pytest.raises(Conflict, match="last admin"):
        do("admin")


def test_two_admins_who_remove_each_other_at_once_leave_one(world: World) -> None:
    world.person("admin")
    with world.app.app_context():
        service.add_member(world.as_system(), "second", PASSWORD, "admin")
        release()
    ids = [member_id(world, "admin"), member_id(world, "second")]

    def remove(wanted: str) -> str:
        with world.app.app_context():
            try:
                service.remove_member(world.as_system(), wanted)
                return "removed"
            except GarageError as error:
                return error.slug
            finally:
                release()

    assert sorted(at_once(*[lambda wanted=wanted: remove(wanted) for wanted in ids])) == [
        "conflict",
        "removed",
    ]
    assert [row["role"] for row in world.rows("members")] == ["admin"]


def test_another_organisations_admin_changes_nobody_here(world: World) -> None:
    stranger = world.person("admin", world.other_organisation())
    world.person("viewer")
    wanted = member_id(world, "viewer")
    with world.unchanged(), world.app.app_context():
        with pytest.raises(NotFound):
            service.change_role(stranger, wanted, "admin")
        with pytest.raises(NotFound):
            service.remove_member(stranger, wanted)
        release()
