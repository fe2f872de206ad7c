"""The OpenAPI document, for programs and as a page."""

from flask import Blueprint, Response, jsonify, request
from typing_extensions import TypedDict

from webapp import templating
from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import public, signed_in
from webapp.security import own_origin

document_blueprint = api_blueprint("openapi", __name__)
blueprint = Blueprint("api", __name__)


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
def page() -> tuple[str, int]:
    """The same for people, a group of operations at a time."""
    from webapp.api import openapi, reference

    made = openapi.document()
    names = reference.group_names(made)
    asked = request.args.get("about", "").capitalize()
    group = reference.group(made, asked if asked in names else names[0], own_origin())
    return templating.page("api/page.html", "api", "API", group=group, names=names)
