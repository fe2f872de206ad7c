"""Add a worker: the line to paste, and the join tokens behind it."""

import logging
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from webapp import clock, templating
from webapp.auth.guards import me, signed_in
from webapp.errors import Invalid
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView, Scope
from webapp.security import own_origin
from webapp.workers import join_tokens, listing, pasted, release
from webapp.workers.archive import NoArchive
from webapp.workers.pages import blueprint
from webapp.workers.rules import parse_labels

# value in the form → (uses, hours, in words)
LIVES: dict[str, tuple[int | None, float | None, str]] = {
    "once": (1, 1, "once, for 1 hour"),
    "ten": (10, 24, "10 times, for 1 day"),
    "many": (None, 24 * 30, "any number of times, for 30 days"),
}
BLANK = {"name": "", "labels": "", "slots": "", "life": "once", "approve": "yes"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """How another machine reaches this server."""

    origin: str
    is_loopback_only: bool
    pin: str = ""  # `sha256:…` of the certificate where no authority vouches for it: the agent has to be told

    @property
    def options(self) -> list[str]:
        """What an agent has to be told about the way, beside the address."""
        return ["--pin", self.pin] if self.pin else ["--insecure"] * self.needs_insecure

    @property
    def is_plain(self) -> bool:
        return self.origin.startswith("http:")

    @property
    def needs_insecure(self) -> bool:
        """Off loopback an agent refuses plain http unless somebody says that it may."""
        return self.is_plain and not is_loopback(self.host)

    @property
    def is_this_machine(self) -> bool:
        """Whoever looks at the page does so from the server's own machine: elsewhere that address means another one."""
        return is_loopback(self.host)

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _way() -> Way:
    settings = current_app.config["SETTINGS"]
    only_here = settings.public_url is None and settings.trusted_proxies == 0 and is_loopback(settings.host)
    return Way(own_origin(), only_here, current_app.config["PIN"])


def _arrivals(scope: Scope) -> dict[str, Any]:
    since = scope.args.get("since", "")
    began = clock.from_ms(int(since)) if since.isdecimal() and len(since) < 15 else clock.now()
    rows = [row for row in listing.all_shown(scope.organisation_id) if row.worker.created_at >= began]
    return {**templating.frame(scope, "workers", "Add a worker"), "arrived": rows}


ADD = LiveView(
    "add-worker",
    ("_counts.html", "workers/_arrived.html", "workers/_first_task.html"),
    _arrivals,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/workers/add")
@signed_in("admin")
def add() -> str:
    return _add_page()


@blueprint.post("/workers/add")
@signed_in("admin")
def make_line() -> str | tuple[str, int]:
    form = {name: request.form.get(name, "").strip() for name in BLANK}
    uses, hours, life = LIVES.get(form["life"], LIVES["once"])
    try:
        token = join_tokens.create(
            me(),
            form["name"] or "a new worker",
            uses,
            hours,
            {key: value or "" for key, value in parse_labels(form["labels"]).items()},
            slots=_slots(form["slots"]),
            approves=bool(form["approve"]),
        )
    except Invalid as error:
        errors = {row["field"]: row["message"] for row in error.extra.get("errors", [])}
        return _add_page(form=form, errors=errors), 422
    return _add_page(form=form, token=token, life=life)


def _slots(text: str) -> int | None:
    if text and not text.isdecimal():
        raise Invalid("Slots are a whole number.", "slots")
    return int(text[:9]) if text else None


def _add_page(token: str = "", **values: Any) -> str:
    since = request.values.get("since", "")[:14]
    args = {"since": since if since.isdecimal() else str(clock.to_ms(clock.now()))}
    way, given = _way(), _given_away()
    shown = {"form": BLANK, "errors": {}, "lives": LIVES, **values}
    return templating.live_page(
        ADD,
        "workers/add.html",
        args,
        way=way,
        given=given,
        token=token,
        lines=_lines(way, given, token),
        **shown,
    )


def _given_away() -> release.Release | None:
    """None where this server can't make agent.pyz: people are then told of the other way alone."""
    try:
        return release.current()
    except NoArchive:
        log.exception("agent.pyz can't be made")
        return None


def _lines(way: Way, given: release.Release | None, token: str) -> dict[str, str]:
    return {
        "any": pasted.line(token, given.sha256, way.origin, way.options) if given and token else "",
        "file": pasted.by_hand(token, f"python3 {release.FILE}", way.origin, way.options),
        "checkout": pasted.by_hand(token, "python3 -m agent", way.origin, way.options),
    }


@blueprint.get("/settings/join-tokens")
@signed_in("admin")
def join_tokens_page() -> tuple[str, int]:
    found = join_tokens.listed(me().organisation_id)
    joined = join_tokens.joined_with(me().organisation_id)
    return templating.page(
        "settings/join_tokens.html", "settings", "Join tokens", tokens=found, joined=joined
    )


@blueprint.post("/settings/join-tokens/<key_id>/revoke")
@signed_in("admin")
def revoke_join_token(key_id: str) -> Response:
    join_tokens.revoke(me(), key_id)
    flash("The join token is revoked. Workers that joined with it stay.")
    return redirect(url_for("workers.join_tokens_page"))
