"""Members, tokens and the audit log; and what becomes of an open page when its reader's rights change."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import SOCKETS, People, Visits
from tests.stack import Stack, eventually

pytestmark = pytest.mark.browser
# Kept over the navigation to the sign-in page.
KEEP_CLOSE_CODE = """document.addEventListener("htmx:wsOpen", () => { sessionStorage.isOpen = "yes"; });
document.addEventListener("htmx:wsClose", ({ detail }) => {
  sessionStorage.closedWith = detail.event.code;
});"""
CLOSED = f"{SOCKETS}|status of 40[13]|Response Status Error"


def add_member(page: Page, name: str, role: str) -> str:
    page.goto("/settings/members")
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("radio", name=role).check()
    page.get_by_role("button", name="Add and make a password").click()
    expect(page.get_by_role("heading", name=f"{name} may sign in")).to_be_visible()
    return page.locator("#password").inner_text()


def test_a_new_member_signs_in_with_the_password_that_is_shown_once(visits: Visits) -> None:
    page = visits.page("admin")
    password = add_member(page, "newcomer", "Operator")
    page.goto("/settings/members")
    expect(page.locator("#password")).to_have_count(0)
    theirs = visits.page(None)
    theirs.goto("/login")
    theirs.get_by_label("Name").fill("newcomer")
    theirs.get_by_label("Password").fill(password)
    theirs.get_by_role("button", name="Sign in").click()
    expect(theirs.locator(".account")).to_contain_text("Operator")
    page.goto("/settings/audit")
    entry = page.get_by_role("row").filter(has_text="member.add").first
    expect(entry).to_contain_text("newcomer")
    expect(entry).to_contain_text("operator")


def test_a_name_that_is_taken_is_said_beside_the_field(visits: Visits) -> None:
    visits.expect_noise("status of 409")
    page = visits.page("admin")
    page.goto("/settings/members")
    page.get_by_role("textbox", name="Name").fill("admin")
    page.get_by_role("button", name="Add and make a password").click()
    expect(page.locator("#name-e")).to_contain_text("There is a user admin already.")
    expect(page.get_by_role("textbox", name="Name")).to_have_value("admin")


def test_a_token_is_shown_once_works_and_stops_working_when_revoked(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    page.goto("/settings/tokens")
    page.get_by_label("What it is for").fill("nightly backup")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("#token").inner_text()
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"{stack.url}/api/v1/tasks", headers=headers, timeout=40).status_code == 200
    page.goto("/settings/tokens")
    assert token not in page.content()
    page.get_by_role("row").filter(has_text="nightly backup").get_by_role("link", name="Revoke…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Programs that use it get 401 at once.")
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator(".toast")).to_contain_text("The token is revoked.")
    assert requests.get(f"{stack.url}/api/v1/tasks", headers=headers, timeout=40).status_code == 401
    audit = visits.page("admin")
    audit.goto("/settings/audit")
    for action in ("token.create", "token.revoke"):
        expect(audit.get_by_role("row").filter(has_text=action).first).to_contain_text("operator-1")


def test_a_join_token_is_made_listed_and_revoked(visits: Visits) -> None:
    page = visits.page("admin")
    page.goto("/workers/add")
    page.get_by_role("textbox", name="Whom it is for").fill("the cellar")
    page.get_by_role("button", name="Make a line to paste").click()
    expect(page.locator("#line")).to_contain_text("AGENT_JOIN_TOKEN=gsj_")
    page.goto("/settings/join-tokens")
    row = page.get_by_role("row").filter(has_text="the cellar")
    row.get_by_role("link", name="Revoke…").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke it").click()
    expect(page.locator(".toast")).to_contain_text("The join token is revoked.")
    expect(row).to_have_count(0)


def test_ones_own_password_is_changed_only_by_who_knows_it(visits: Visits, people: People) -> None:
    visits.expect_noise("status of 422")
    person = people.newcomer("careful", "viewer")
    page = visits.page(person)
    page.goto("/settings")
    page.get_by_label("Password now").fill("not this one")
    page.get_by_label("New password").fill("a much longer one")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_contain_text("The password was not changed.")
    page.get_by_label("Password now").fill(person.password)
    page.get_by_label("New password").fill("a much longer one")
    page.get_by_role("button", name="Change the password").click()
    expect(page.locator(".toast")).to_contain_text("The password is changed.")


def test_a_removed_member_is_out_of_every_open_page(visits: Visits, people: People) -> None:
    visits.expect_noise(CLOSED)
    theirs = visits.page(people.newcomer("goner", "operator"))
    theirs.add_init_script(KEEP_CLOSE_CODE)
    theirs.goto("/tasks")
    eventually(lambda: theirs.evaluate("sessionStorage.isOpen") == "yes", what="the page's socket to open")
    page = visits.page("admin")
    page.goto("/settings/members")
    page.get_by_role("row").filter(has_text="goner").get_by_role("link", name="Remove…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove goner").click()
    expect(page.locator(".toast")).to_contain_text("Removed")
    expect(theirs).to_have_url(re.compile(r"/login\?next="))
    assert theirs.evaluate("sessionStorage.closedWith") == "4401"


def test_who_loses_a_role_loses_its_buttons_in_the_open_page(
    visits: Visits, people: People, stack: Stack
) -> None:
    visits.expect_noise(CLOSED)
    theirs = visits.page(people.newcomer("demoted", "operator"))
    tasks.open_task(theirs, stack.submit("sleep 300"))
    expect(theirs.get_by_role("link", name="Cancel…")).to_be_visible()
    page = visits.page("admin")
    page.goto("/settings/members")
    row = page.get_by_role("row").filter(has_text="demoted")
    row.get_by_role("combobox").select_option("viewer")
    row.get_by_role("button", name="Change").click()
    expect(page.locator(".toast")).to_contain_text("The role is changed.")
    expect(theirs.get_by_role("link", name="Cancel…")).to_have_count(0)
