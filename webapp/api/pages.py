"""The OpenAPI document, for programs and as a page."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, redirect, request
from typing_extensions import TypedDict
from werkzeug.wrappers import Response as BaseResponse

from webapp import templating
from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import me, public, signed_in
from webapp.security import own_origin

document_blueprint = api_blueprint("openapi", __name__)
blueprint = Blueprint("api", __name__)

# Filled by the domains: {variable of the lines to paste: something of an organisation that it may stand for}.
known_ids: dict[str, Callable[[str], str | None]] = {}


class DocumentAnswer(TypedDict):
    """An OpenAPI document."""

    openapi: str


@document_blueprint.get("/openapi.json")
@public
@documented("This document", answer=DocumentAnswer, group="About")
def document() -> Response:
    """It holds no secrets, so nobody has to sign in for it."""
    from webapp.api import openapi  # what it needs is loaded when somebody asks

    return jsonify(openapi.document())


@blueprint.get("/api")
@signed_in("viewer")
def moved() -> BaseResponse:
    """Where the page was before."""
    return redirect(templating.query_url("api.page", {"about": request.args.get("about")}), 301)


@blueprint.get("/api/docs")
@signed_in("viewer")
def page() -> tuple[str, int]:
    """The same for people, a group of operations at a time."""
    from webapp.api import openapi, reference

    made = openapi.document()
    names = reference.group_names(made)
    asked = request.args.get("about", "").capitalize()
    group = reference.group(made, asked if asked in names else names[0], own_origin())
    found = {name: find(me().organisation_id) for name, find in known_ids.items()}
    setting = reference.setting(group.calls, {name: value for name, value in found.items() if value})
    return templating.page("api/page.html", "api", "API", group=group, names=names, setting=setting)
