"""The OpenAPI document, for programs and as a page."""

from flask import Blueprint, Response, jsonify
from typing_extensions import TypedDict

from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import public

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
