"""Signing in and out, as a person does it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.people import SOCKETS, People, Session, Visits

pytestmark = pytest.mark.browser


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_a_wrong_password_says_how_many_tries_are_left_and_the_right_one_leads_in(
    visits: Visits, people: People
) -> None:
    visits.expect_noise("status of 401")
    person = people.newcomer("forgetful", "viewer")
    page = visits.page(None)
    page.goto("/")
    sign_in(page, "forgetful", "not the password")
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"\d tries left"))
    expect(page.get_by_label("Name")).to_have_value("forgetful")
    expect(page.get_by_label("Password")).to_be_focused()
    sign_in(page, "forgetful", person.password)
    expect(page).to_have_url(re.compile(r"/$"))
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()


def test_signing_in_leads_to_the_page_that_was_asked_for(visits: Visits, people: People) -> None:
    page = visits.page(None)
    page.goto("/tasks?status=failed")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    sign_in(page, "admin", people.admin.password)
    expect(page).to_have_url(re.compile(r"/tasks\?status=failed$"))


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/\\evil.example/", "javascript:alert(1)"]
)
def test_nobody_is_sent_to_another_site_after_signing_in(visits: Visits, people: People, target: str) -> None:
    page = visits.page(None)
    page.goto(f"/login?next={target}")
    sign_in(page, "admin", people.admin.password)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    assert page.url == f"{people.stack.url}/"


def test_a_cookie_is_worth_nothing_after_signing_out(visits: Visits, people: People) -> None:
    page = visits.page(None)
    page.goto("/login")
    sign_in(page, "admin", people.admin.password)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()
    kept = page.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile(r"/login$"))
    page.context.clear_cookies()
    page.context.add_cookies(kept)  # type: ignore[arg-type]
    page.goto("/settings")
    expect(page).to_have_url(re.compile(r"/login\?next="))


def test_a_page_that_stays_open_ends_at_the_sign_in_when_its_session_does(
    visits: Visits, people: People
) -> None:
    # Its socket may be refused a few times before the page leaves.
    visits.expect_noise(f"{SOCKETS}|status of 401|Response Status Error")
    person = people.newcomer("leaver", "viewer")
    page = visits.page(person)
    page.goto("/tasks")
    expect(page.locator("#task-rows")).to_be_visible()
    sign_out(person)
    expect(page).to_have_url(re.compile(r"/login\?next=/tasks|/login\?next=%2Ftasks"), timeout=40_000)


def sign_out(person: Session) -> None:
    assert person.post("/logout").status_code == 302
