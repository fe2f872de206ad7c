"""Keys on the pages: exchange one, and let a machine that was installed anew take its former worker's place."""

from flask import request
from werkzeug.wrappers import Response

from webapp.auth.guards import me, signed_in
from webapp.workers import keys, replacing
from webapp.workers.access import worker_for
from webapp.workers.bulk_pages import each
from webapp.workers.pages import blueprint, done


@blueprint.post("/workers/<id:worker_id>/rotate-key")
@signed_in("admin")
def rotate_key(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    keys.request_rotation(me(), found)
    return done(f"{found.name} gets itself a fresh key when its agent calls next.", worker_id)


@blueprint.post("/workers/rotate-key")
@signed_in("admin")
def rotate_keys() -> Response:
    return each(keys.request_rotation, "told to get a fresh key")


@blueprint.post("/workers/<id:worker_id>/replace")
@signed_in("admin")
def replace(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    replacing.replace(me(), found, request.form.get("former", ""))
    return done(f"{found.name} has taken the place of its former self, which is revoked.", worker_id)
