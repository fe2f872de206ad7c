"""Is the process alive, and can it serve?"""

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Blueprint, Response, current_app, jsonify

from webapp.auth.guards import uncounted
from webapp.errors import Unavailable
from webapp.extensions import db
from webapp.live.bus import bus

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
@uncounted
def live() -> Response:
    """200 while the process answers at all."""
    return jsonify(status="ok")


@blueprint.get("/ready")
@uncounted
def ready() -> Response:
    """200 when the database answers, its schema is the one this code needs, and the server isn't stopping."""
    if bus.stopping.is_set():
        raise Unavailable("The server is stopping.")
    wanted = ScriptDirectory(current_app.extensions["migrate"].directory).get_current_head()
    found = MigrationContext.configure(db.session.connection()).get_current_revision()
    if found != wanted:
        raise Unavailable(
            f"The database is at migration {found}, this code needs {wanted}. Run: flask --app wsgi db upgrade"
        )
    return jsonify(status="ok")
