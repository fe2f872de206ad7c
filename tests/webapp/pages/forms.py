"""What a person does with a page: open it, fill in its form, press a button."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from flask.testing import FlaskClient

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def csrf(client: FlaskClient, page: str = "/settings") -> str:
    """The token that this browser's forms carry."""
    found = TOKEN.search(client.get(page).text)
    assert found, f"{page} has no form"
    return found[1]


def press(client: FlaskClient, path: str, page: str = "/settings", **fields: Any) -> Any:
    """Send a form as the browser would, with the token of a page that it has open."""
    return client.post(path, data={"csrf_token": csrf(client, page), **fields})


def text_of(answer: Any) -> str:
    """What a page says, without its marks."""
    words = re.sub(r"<(script|style|head)\b.*?</\1>|<[^>]+>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(words).split())


def toast(client: FlaskClient, page: str) -> str:
    """What the page after a form says of it."""
    found = re.search(r'class="toast"><p>(.*?)</p>', client.get(page).text, re.DOTALL)
    return unescape(found[1]) if found else ""


def field_error(answer: Any, field: str) -> str:
    """What stands beside a field."""
    found = re.search(rf'id="{re.escape(field)}-e".*?<span>(.*?)</span>', answer.text, re.DOTALL)
    return unescape(found[1]) if found else ""
