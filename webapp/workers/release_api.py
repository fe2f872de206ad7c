"""What a machine needs before it is a worker: the agent as one file, and what is in it."""

from flask import Blueprint, Response, jsonify, request

from webapp.api import blueprint as api_blueprint
from webapp.api.documented import documented
from webapp.auth.guards import public
from webapp.errors import NotFound
from webapp.workers import release
from webapp.workers.answers import ReleaseAnswer

blueprint = api_blueprint("release_api", __name__)
plain_blueprint = Blueprint("release", __name__)
FOR_EVER = "public, max-age=31536000, immutable"


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
    answer = Response(found.path.read_bytes(), mimetype="application/zip")
    answer.headers["Cache-Control"] = FOR_EVER if "sha256" in request.args else "no-cache"
    answer.headers["Content-Disposition"] = f"attachment; filename={release.FILE}"
    answer.set_etag(found.sha256)
    answer.make_conditional(request, accept_ranges=True, complete_length=found.size)
    return answer
