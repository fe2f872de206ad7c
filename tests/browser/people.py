"""People in front of a browser: each signed in with a role, in a context of their own, watched for what went wrong."""

from __future__ import annotations

import re
from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page

from tests.stack import Stack

ROLES = ("viewer", "operator", "approver", "admin")
DESKTOP, RAIL, PHONE = (1440, 900), (820, 1100), (390, 844)
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
PASSWORD = re.compile(r'<code id="password">([^<]+)</code>')
TOKEN = re.compile(r'<code id="token">([^<]+)</code>')
SOCKETS = r"WebSocket connection to|Failed to load resource: net::ERR_|^JSHandle@|^\[?object Event\]?|^Event$"
# A poll that the page itself gives up because its socket has opened meanwhile.
ABORTED = r"^htmx:(afterRequest|sendAbort)\b"
# A refused style or script is said in the console too, but not in every case.
SAY_VIOLATIONS = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`Content security policy: ${event.violatedDirective} refused ${event.blockedURI}`));"""


class Session:
    """A person's browser without a window: for what a test needs before it begins."""

    def __init__(self, stack: Stack, name: str, password: str) -> None:
        self.url, self.name, self.password = stack.url, name, password
        self.http = stack.client()
        answer = self.post("/login", page="/login", name=name, password=password)
        assert answer.status_code == 302, answer.text

    def post(self, path: str, page: str = "/settings", **fields: Any) -> requests.Response:
        found = CSRF.search(self.http.get(self.url + page, timeout=40).text)
        assert found, f"{page} has no form"
        data = {"csrf_token": found[1], **fields}
        return self.http.post(self.url + path, data=data, allow_redirects=False, timeout=40)

    def add_member(self, name: str, role: str) -> str:
        """Returns the first password."""
        answer = self.post("/settings/members", name=name, role=role)
        made = PASSWORD.search(answer.text)
        assert made, answer.text
        return made[1]

    def api_token(self, name: str) -> str:
        made = TOKEN.search(self.post("/settings/tokens", page="/settings/tokens", name=name, days="30").text)
        assert made
        return made[1]

    @property
    def cookie(self) -> dict[str, str]:
        return {"name": "gsw_session", "value": self.http.cookies["gsw_session"], "url": self.url}


class People:
    """Everybody of one stack, by role. Each role has one person who signs in once."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.admin = Session(stack, "admin", stack.password)
        self._sessions: dict[str, Session] = {"admin": self.admin}

    def session(self, role: str) -> Session:
        if role not in self._sessions:
            self._sessions[role] = self.newcomer(f"{role}-1", role)
        return self._sessions[role]

    def newcomer(self, name: str, role: str) -> Session:
        return Session(self.stack, name, self.admin.add_member(name, role))


class Visits:
    """Pages that one test opens. Whatever the console says on one of them fails it, unless it was expected."""

    def __init__(self, browser: Browser, people: People) -> None:
        self._browser, self.people = browser, people
        self._contexts: list[BrowserContext] = []
        self._said: list[str] = []
        self._expected: list[str] = [ABORTED]

    def expect_noise(self, pattern: str) -> None:
        self._expected.append(pattern)

    def page(
        self,
        who: str | Session | None = "admin",
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        script: bool = True,
        url: str = "",
        **options: Any,
    ) -> Page:
        """A fresh window of a role, a session, or of nobody."""
        context = self._browser.new_context(
            base_url=url or self.people.stack.url,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            has_touch=size == PHONE,
            **options,
        )
        context.set_default_timeout(20_000)
        self._contexts.append(context)
        if who is not None:
            session = self.people.session(who) if isinstance(who, str) else who
            cookie = session.cookie | ({"url": url} if url else {})
            context.add_cookies([cookie])  # type: ignore[list-item]
        context.add_init_script(SAY_VIOLATIONS)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._said.append(f"{type(error).__name__}: {error}"))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        self._said.append(message.text)

    def close(self) -> list[str]:
        """What was said and nobody expected."""
        for context in self._contexts:
            try:
                context.close()
            except Error as error:
                self._said.append(str(error))
        return [text for text in self._said if not any(re.search(known, text) for known in self._expected)]
