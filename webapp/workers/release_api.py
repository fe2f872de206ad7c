"""What a machine needs before it is a worker: the agent as one file, and what is in it."""

from flask import Blueprint, Response, jsonify, request, send_file

from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import public
from webapp.errors import NotFound
from webapp.workers import release
from webapp.workers.answers import ReleaseAnswer

blueprint = api_blueprint("release_api", __name__)
plain_blueprint = Blueprint("release", __name__)
YEAR_S = 365 * 24 * 3600


@blueprint.get("/agents/release")
@public
@documented("Show which agent this server gives away", answer=ReleaseAnswer, group="Agents")
def show() -> Response:
    """For `agent update`. The file at `url` has this checksum, or isn't to be started."""
    found = release.current()
    answer = ReleaseAnswer(
        version=found.version,
        protocol=found.protocol,
        sha256=found.sha256,
        size=found.size,
        url=found.url,
    )
    return jsonify(answer)


@plain_blueprint.get(f"/{release.FILE}")
@public
def agent_file() -> Response:
    """Asked for by its checksum it never changes; without one it is whatever this server has now."""
    found = release.current()
    wanted = request.args.get("sha256", found.sha256)
    if wanted != found.sha256:
        raise NotFound("This server has another agent by now. Ask for the one that it has.")
    answer = send_file(found.path, mimetype="application/zip", etag=found.sha256, conditional=True)
    answer.headers["Cache-Control"] = (
        f"public, max-age={YEAR_S}, immutable" if "sha256" in request.args else "no-cache"
    )
    answer.headers["Content-Disposition"] = f"attachment; filename={release.FILE}"
    return answer
