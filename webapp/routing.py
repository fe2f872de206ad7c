"""What a path and a query may hold."""

from flask import Flask, request
from werkzeug.routing import BaseConverter

from webapp.errors import BadRequest, is_for_programs

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class IdConverter(BaseConverter):
    """One of our ids. Anything else in its place is a 404 before any query."""

    regex = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def refuse_nul() -> None:
    """PostgreSQL refuses NUL in any value, and nothing that we look for holds one."""
    if b"%00" in request.query_string or b"\0" in request.query_string or "\0" in request.path:
        raise BadRequest("The address contains a NUL character.")
    if is_for_programs(request.path):
        return  # a form there isn't read: the route says what it takes
    if request.mimetype in FORMS and any(
        "\0" in value for values in request.form.listvalues() for value in values
    ):
        raise BadRequest("The form contains a NUL character.")


def init_app(app: Flask) -> None:
    app.before_request(refuse_nul)
    app.url_map.converters["id"] = IdConverter
