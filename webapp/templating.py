"""What templates may use, and the frame that every page stands in."""

import gzip
import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, render_template, request, url_for
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from webapp import charts, clock
from webapp.auth.guards import me
from webapp.auth.rules import ROLE_MEANS, ROLES, Role, allows
from webapp.config import REPOSITORY
from webapp.live.views import LiveView, Scope, live_url

STATIC = REPOSITORY / "static"
PACKED_TYPES = {"text/css", "text/javascript", "application/javascript", "image/svg+xml"}

# Filled by the domains: {name: count of an organisation}, for the navigation.
counters: dict[str, Callable[[str], int]] = {}


def frame(scope: Scope, section: str, title: str, favicon: str = "idle") -> dict[str, Any]:
    """What `_counts.html` needs. `favicon` is idle, running or failed."""
    counts = {name: count(scope.organisation_id) for name, count in counters.items()}
    return {"section": section, "title": title, "favicon": favicon, "counts": counts}


def page(template: str, section: str, title: str, status: int = 200, **values: Any) -> tuple[str, int]:
    """A page that stays as it is."""
    scope = Scope(me().organisation_id, me().role)
    return render_template(template, scope=scope, live=None, **frame(scope, section, title), **values), status


def page_of(found: Sequence[Any], said: str, size: int) -> dict[str, Any]:
    """What the foot of a long table needs, and the rows of the page that was asked for; one that isn't there any more is
    the last."""
    last = max(1, -(-len(found) // size))
    number = min(max(int(said), 1), last) if said.isdecimal() and len(said) < 10 else 1
    first = (number - 1) * size
    return {
        "rows": found[first : first + size],
        "found": len(found),
        "page": number,
        "last_page": last,
        "first": first,
    }


def live_page(view: LiveView, template: str, args: Mapping[str, str], **values: Any) -> str:
    """A page whose fragments are sent again when they change: the same files, the same context."""
    scope = Scope(me().organisation_id, me().role, args)
    live = live_url(view.name, args)
    return render_template(template, **{**view.context(scope), "scope": scope, "live": live, **values})


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(
        static_url=static_url,
        may=may,
        charts=charts,
        role_means=ROLE_MEANS,
        roles=ROLES,
        query_url=query_url,
    )
    app.jinja_env.filters.update(
        iso=clock.wire,
        stamp=stamp,
        short_time=short_time,
        duration=duration,
        size=size,
        initials=initials,
        pretty=pretty,
        plural=plural,
        sentence=sentence,
    )
    app.jinja_env.bytecode_cache = _compiled
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.context_processor(_of_this_request)
    app.after_request(_keep_static)


class _Compiled(BytecodeCache):
    """Templates compile once a process, however many apps a test run makes."""

    def __init__(self) -> None:
        self.code: dict[tuple[str, str], bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if code := self.code.get((bucket.key, bucket.checksum)):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.code[bucket.key, bucket.checksum] = bucket.bytecode_to_string()


_compiled = _Compiled()


def warm(app: Flask) -> None:
    """Compile all templates before the first request: a live view that is slow once is rendered rarely for a while."""
    for name in app.jinja_env.list_templates(extensions=["html"]):
        app.jinja_env.get_template(name)


def _of_this_request() -> dict[str, Any]:
    """Only for what lies outside of fragments. Reads no database: the error page needs it too."""
    return {"signed_in_as": g.get("actor"), "now": clock.now()}


def _keep_static(response: Response) -> Response:
    """A file asked for by its content's hash never changes, and is packed once.

    Only files: a page holds a secret (the CSRF token) beside what others wrote, and its packed length would tell of it.
    """
    if request.endpoint != "static" or response.status_code != 200:
        return response
    name = (request.view_args or {})["filename"]
    if name != posixpath.normpath(name) or request.args.get("v") != _version(name):
        return response  # not as a page of ours asks for it: served, but not kept in memory
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.vary.add("Accept-Encoding")
    if request.accept_encodings.quality("gzip") and response.mimetype in PACKED_TYPES:
        response.direct_passthrough = False
        response.close()  # the file that would have been sent
        response.set_data(_packed(name))
        response.headers["Content-Encoding"] = "gzip"
    return response


@cache
def _packed(name: str) -> bytes:
    return gzip.compress((STATIC / name).read_bytes(), 9)


# ---- globals


@cache
def _version(name: str) -> str:
    path: Path = STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10] if path.is_file() else "missing"


def static_url(name: str) -> str:
    """A file of static/, cached for ever under its content's hash."""
    return f"/static/{name}?v={_version(name)}"


def may(scope: Scope, role: Role) -> bool:
    return allows(scope.role, role)


def query_url(endpoint: str, args: Mapping[str, Any], **changed: Any) -> str:
    """The same page with some arguments changed; empty ones go."""
    merged = {**args, **changed}
    return url_for(endpoint, **{name: value for name, value in merged.items() if value not in ("", None)})


# ---- filters


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short_time(moment: datetime) -> str:
    """What stands in the page until the script makes it relative."""
    return moment.astimezone(UTC).strftime("%d %b %H:%M")


def duration(seconds: float) -> str:
    """In the same words as the script's."""
    if seconds < 10:
        return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    whole = int(seconds)
    minutes, hours = whole // 60, whole // 3600
    if whole < 60:
        return f"{whole} s"
    if minutes < 10:
        return f"{minutes} min {whole % 60:02d} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Bytes by thousands, as disks are sold and downloads shown."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def initials(name: str) -> str:
    words = name.replace("-", " ").replace(".", " ").split()
    letters = words[0][:1] + words[-1][:1] if len(words) > 1 else name[:2]
    return letters.upper()


def pretty(value: Any) -> str:
    """Any JSON value for people to read."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def plural(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def sentence(text: str, capital: bool = True) -> str:
    """Words of a program, ended so that others can follow."""
    text = text.strip()
    begun = text[:1].upper() + text[1:] if capital else text
    return begun if begun.endswith((".", "!", "?", "…")) else begun + "."
