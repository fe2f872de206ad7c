"""Webhooks for programs: those who make them, and the remotes that call them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from flask import Response, jsonify, request

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import read_bytes
from webapp.api.documented import documented
from webapp.api.idempotency import answers_a_secret
from webapp.auth import throttle
from webapp.auth.guards import address, me, token_required, uncounted
from webapp.errors import Conflict, Forbidden, NotSignedIn, TooLarge
from webapp.projects import deliveries, webhooks
from webapp.projects.access import project_for, writable_project_for
from webapp.projects.webhook_schemas import (
    DeliveryAnswer,
    HookAnswer,
    HookHeaders,
    NewWebhookAnswer,
    WebhookAnswer,
    WebhookList,
)

if TYPE_CHECKING:
    from webapp.projects.models import Delivery, Webhook

BODY_BYTES = 1_000_000
blueprint = api_blueprint("webhooks_api", __name__)


@blueprint.get("/projects/<id:project_id>/webhooks")
@token_required("viewer")
@documented("List a project’s webhooks", answer=WebhookList)
def list_webhooks(project_id: str) -> Response:
    """At most ten, oldest first, and what remotes sent to them last."""
    project = project_for(me(), project_id)
    found, last = webhooks.listed(project), webhooks.deliveries(project)
    called = webhooks.last_calls(found)
    return jsonify(
        WebhookList(
            items=[_as_wire(row, called.get(row.id)) for row in found],
            deliveries=[_delivery(row) for row in last],
        )
    )


@blueprint.post("/projects/<id:project_id>/webhooks")
@token_required("operator")
@answers_a_secret
@documented("Make a webhook", answer=NewWebhookAnswer, status=201, errors=(Conflict,))
def make_webhook(project_id: str) -> tuple[Response, int]:
    """The secret is shown only now. Paste it and the address where the remote has its webhooks, with JSON as the content
    type and pushes as the event."""
    made, secret = webhooks.create(me(), writable_project_for(me(), project_id))
    return jsonify(NewWebhookAnswer(**_as_wire(made, None), secret=secret)), 201


@blueprint.delete("/projects/<id:project_id>/webhooks/<id:webhook_id>")
@token_required("operator")
@documented("Delete a webhook", status=204)
def delete_webhook(project_id: str, webhook_id: str) -> tuple[str, int]:
    """Who calls it from now on gets 401."""
    webhooks.delete(me(), writable_project_for(me(), project_id), webhook_id)
    return "", 204


@blueprint.post("/hooks/<webhook_id>")
@uncounted
@documented(
    "Tell of a push",
    headers=HookHeaders,
    answer=HookAnswer,
    errors=(NotSignedIn, Forbidden, TooLarge),
    group="Projects",
)
def hook(webhook_id: str) -> Response:
    """For remotes: GitHub, Gitea and Forgejo sign the body in `X-Hub-Signature-256`, GitLab sends the secret in
    `X-Gitlab-Token`, and a program of yours signs in `X-GSW-Signature-256`. A push to the branch that the project follows
    has each of its checkouts pulled; a body that names no `ref` counts as one. The same delivery again changes nothing.
    """
    call = deliveries.call_of(webhook_id, read_bytes(BODY_BYTES), dict(request.headers), address())
    try:
        outcome = deliveries.receive(call)
    except deliveries.CallRefused:  # what is signed right comes as often as the remote wishes
        throttle.wrong_key(address())
        throttle.count_stranger(address())
        raise
    if outcome.is_refused:
        raise Forbidden(outcome.said)
    return jsonify(HookAnswer(said=outcome.said))


def _as_wire(row: Webhook, called_at: datetime | None) -> WebhookAnswer:
    return {
        "id": row.id,
        "url": webhooks.address_of(row.id),
        "created_by": row.created_by,
        "created_at": clock.wire(row.created_at),
        "called_at": clock.wire(called_at),
    }


def _delivery(row: Delivery) -> DeliveryAnswer:
    return {
        "webhook_id": row.webhook_id,
        "delivery_id": row.delivery_id,
        "event": row.event,
        "received_at": clock.wire(row.received_at),
        "said": row.said,
        "is_refused": row.is_refused,
    }
