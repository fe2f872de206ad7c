"""Add a worker: the line to paste, what stands around it, and the machine that calls."""

from __future__ import annotations

import re
import shlex
from html import unescape
from typing import Any

import pytest

from tests.webapp.pages.forms import csrf, field_error, press, text_of, toast
from tests.world import World
from webapp.workers import archive

pytestmark = pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)

PATH = "/workers/add"
FORM = {"name": "the attic", "labels": "site=attic", "slots": "", "life": "once", "approve": "yes"}


def line(answer: Any, name: str = "line") -> list[str]:
    """A line of the page, as a shell takes it apart."""
    found = re.search(rf'<code id="{name}"[^>]*>(.*?)</code>', answer.text)
    assert found, text_of(answer)
    return shlex.split(unescape(found[1]))


def token_of(words: list[str]) -> str:
    name, _, token = words[0].partition("=")
    assert name == "AGENT_JOIN_TOKEN"
    return token


def test_the_line_names_the_file_by_its_checksum_and_lets_a_machine_in(world: World) -> None:
    client = world.browser("admin")
    words = line(press(client, PATH, **FORM))
    release = client.get("/api/v1/agents/release").json
    assert words[1:3] == ["python3", "-c"]
    assert words[4:] == [release["sha256"], "run", "--server", "http://localhost"]
    worker = world.registered("attic", join_token=token_of(words))
    assert worker.sync().status_code == 200
    assert "site=attic" in text_of(client.get(f"/workers/{worker.id}"))


def test_the_token_stands_in_no_argument(world: World) -> None:
    answer = press(world.browser("admin"), PATH, **FORM)
    for name in ("line", "line-file", "line-checkout"):
        words = line(answer, name)
        assert token_of(words).startswith("gsj_")
        assert not any("gsj_" in word for word in words[1:]), name


def test_by_hand_the_same_with_the_file_or_a_checkout(world: World) -> None:
    answer = press(world.browser("admin"), PATH, **FORM)
    rest = ["run", "--server", "http://localhost"]
    assert line(answer, "line-file")[1:] == ["python3", "agent.pyz", *rest]
    assert line(answer, "line-checkout")[1:] == ["python3", "-m", "agent", *rest]
    assert answer.text.count(line(answer)[4]) >= 2, "the checksum to compare, too"


def test_the_token_is_shown_once(world: World) -> None:
    client = world.browser("admin")
    token = token_of(line(press(client, PATH, **FORM)))
    for path in (PATH, "/settings/join-tokens", "/settings/audit"):
        assert token not in client.get(path).text


def test_what_the_token_gives_is_what_the_form_says(world: World) -> None:
    client = world.browser("admin")
    token = token_of(line(press(client, PATH, **{**FORM, "slots": "5", "life": "ten"})))
    (stored,) = world.rows("join_tokens")
    assert (stored["slots"], stored["approves"], stored["uses_left"]) == (5, 1, 10)
    worker = world.registered("attic", slots=2, join_token=token)
    assert "0 of 5 slots" in text_of(client.get(f"/workers/{worker.id}"))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"labels": "a=b=c"}, "labels"),
        ({"slots": "0"}, "slots"),
        ({"slots": "many"}, "slots"),
        ({"slots": "-1"}, "slots"),
        ({"slots": "1001"}, "slots"),
        ({"slots": "9" * 5000}, "slots"),
        ({"name": "x" * 256}, "name"),
    ],
)
def test_what_makes_no_sense_makes_no_token(world: World, fields: dict[str, str], field: str) -> None:
    answer = press(world.browser("admin"), PATH, **{**FORM, **fields})
    assert answer.status_code == 422
    assert field_error(answer, field)
    assert world.rows("join_tokens") == []


def test_without_a_line_it_says_how_to_go_without_a_token(world: World) -> None:
    page = world.browser("admin").get(PATH)
    assert "run --server http://localhost" in text_of(page)
    assert "gsj_" not in page.text
    assert 'id="line"' not in page.text


def test_a_server_that_cant_make_the_file_still_shows_the_way_by_hand(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PACKAGES", ("no-such-package",))
    answer = press(world.browser("admin"), PATH, **FORM)
    assert answer.status_code == 200
    assert "can’t make the file" in text_of(answer)
    assert line(answer, "line-checkout")[1:4] == ["python3", "-m", "agent"]
    assert 'id="line"' not in answer.text


# ---- the way there


def test_a_server_on_loopback_says_that_others_cant_reach_it(world: World) -> None:
    assert "make run HOST=0.0.0.0 TLS=self" in text_of(world.browser("admin").get(PATH))


def test_who_comes_by_loopback_is_told_that_the_line_works_there_alone(new_world: Any) -> None:
    world = new_world(host="0.0.0.0")
    assert "means “this machine”" in text_of(world.browser("admin").get(PATH))


def test_plain_http_on_a_network_is_said_and_has_to_be_meant(new_world: Any) -> None:
    world = new_world(host="0.0.0.0", public_url="http://garage.lan:8000")
    client = world.browser("admin")
    assert "This server speaks plain http." in text_of(client.get(PATH))
    sent = {"csrf_token": csrf(client, PATH), **FORM}
    answer = client.post(PATH, data=sent, headers={"Origin": "http://garage.lan:8000"})
    assert line(answer)[5:] == ["run", "--server", "http://garage.lan:8000", "--insecure"]


def test_a_certificate_of_its_own_is_pinned_by_the_line(new_world: Any) -> None:
    world = new_world(host="0.0.0.0", public_url="https://garage.lan:8000")
    pin = "sha256:" + "ab" * 32
    world.app.config["PIN"] = pin
    client = world.browser("admin")
    sent = {"csrf_token": csrf(client, PATH), **FORM}
    answer = client.post(PATH, data=sent, headers={"Origin": "https://garage.lan:8000"})
    assert line(answer)[5:] == ["run", "--server", "https://garage.lan:8000", "--pin", pin]
    assert "The line below names its fingerprint" in text_of(answer)


# ---- the machine that calls


def arrivals(world: World, role: Any = "admin") -> Any:
    return world.browser(role).get("/live?view=add-worker&since=0")


def test_a_machine_that_calls_shows_its_code_and_is_approved_right_there(world: World) -> None:
    client = world.browser("admin")
    token = token_of(line(press(client, PATH, **{**FORM, "approve": ""})))
    worker = world.registered("attic", join_token=token)
    live = arrivals(world)
    assert worker.code in text_of(live)
    assert 'aria-disabled="true">Submit it to the new worker' in live.text
    button = re.search(
        rf'formaction="(/workers/{worker.id}/approve)" name="back" value="(add-\d+)"', live.text
    )
    assert button
    answer = press(client, button[1], back=button[2])
    assert answer.location == "/workers/add?since=0"
    assert "attic is approved" in toast(client, answer.location)
    assert worker.sync().status_code == 200
    after = text_of(client.get(answer.location))
    assert "Online" in after
    assert worker.code not in after


def test_who_has_called_stays_in_sight_when_another_line_is_made(world: World) -> None:
    client = world.browser("admin")
    first = press(client, PATH, **FORM)
    since = re.search(r'name="since" value="(\d+)"', first.text)
    assert since
    world.registered("attic", join_token=token_of(line(first)))
    assert (
        "attic"
        in text_of(press(client, PATH, **FORM, since=since[1])).partition("What the join token gives")[0]
    )


def test_a_first_task_for_it_is_made_in_two_clicks(world: World) -> None:
    worker = world.registered("attic", join_token=world.join_token())
    client = world.browser("admin")
    link = re.search(r'href="(/tasks/new[^"]+)"', arrivals(world).text)
    assert link
    page = client.get(unescape(link[1]))
    assert "uname -a</textarea>" in page.text
    assert f'<option value="{worker.id}" selected>' in page.text


def test_nobody_elses_arrivals_are_shown(world: World) -> None:
    token = world.join_token(organisation_id=world.other_organisation())
    world.registered("theirs", join_token=token)
    assert "theirs" not in text_of(arrivals(world))


def test_operators_add_none(world: World) -> None:
    assert world.browser("operator").get(PATH).status_code == 403
    assert press(world.browser("operator"), PATH, **FORM).status_code == 403
    assert world.rows("join_tokens") == []
