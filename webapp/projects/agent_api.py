"""What an agent calls about projects."""

from flask import Response, jsonify

from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse
from webapp.api.documented import documented
from webapp.errors import LeaseLost
from webapp.projects import callback
from webapp.projects.answers import CallbackAnswer
from webapp.projects.schemas import CheckoutReport
from webapp.workers.guards import caller, worker_key

blueprint = api_blueprint("projects_agent_api", __name__)

REPORT_BYTES = 1024 * 1024


@blueprint.post("/projects/<id:project_id>/status")
@worker_key()
@documented("Say how a checkout is", body=CheckoutReport, answer=CallbackAnswer, errors=(LeaseLost,))
def status(project_id: str) -> Response:
    """After each git operation, before its attempt is reported. Only for the worker's current attempt; said twice it is
    answered the same. Text is stored as one line, and cut where it is too long.
    """
    now = callback.settle(caller(), project_id, parse(CheckoutReport, REPORT_BYTES))
    return jsonify(CallbackAnswer(status=now))
