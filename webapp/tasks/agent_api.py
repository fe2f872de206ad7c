"""What an agent calls for its tasks."""

import hashlib
import re
import zlib

from flask import Response, jsonify, request

from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_query, read_bytes
from webapp.api.documented import BYTES, documented
from webapp.errors import Conflict, Invalid, LeaseLost, LogGap, LogIncomplete, TooLarge
from webapp.tasks import progress, reports
from webapp.tasks.answers import ChunkAnswer, ReportAnswer, StatusAnswer
from webapp.tasks.data import CannotRun, current_data
from webapp.tasks.holes import Span, span_of
from webapp.tasks.logs import CHUNK_LIMIT
from webapp.tasks.schemas import ChunkBody, ChunkHeaders, DataQuery, Report, StatusUpdate
from webapp.workers.answers import TaskData
from webapp.workers.guards import caller, worker_key

blueprint = api_blueprint("tasks_agent_api", __name__)


@blueprint.post("/workers/<id:worker_id>/report-result")
@worker_key()
@documented(
    "Report how an attempt ended",
    body=Report,
    answer=ReportAnswer,
    errors=(reports.NotAssigned, Conflict, LeaseLost, LogIncomplete),
)
def report_result(worker_id: str) -> Response:
    """The same report again gets the same answer; another one is kept as a note."""
    settled = reports.report_one(caller(), parse(Report))
    return jsonify(ReportAnswer(success=True, task_id=settled.task_id, new_status=settled.new_status))


@blueprint.get("/agents/tasks/<id:task_id>/data")
@worker_key()
@documented("Fetch what it takes to run a task", query=DataQuery, answer=TaskData, errors=(CannotRun,))
def data(task_id: str) -> Response:
    """Of the worker's current attempt of this task; `attempt_id` says which one it means. 409: what it needs was
    deleted, and the task has failed.
    """
    return jsonify(current_data(caller(), task_id, parse_query(DataQuery).attempt_id))


@blueprint.post("/agents/tasks/<id:task_id>/logs/chunk")
@worker_key()
@documented(
    "Send a chunk of the log",
    body=(ChunkBody, BYTES),
    headers=ChunkHeaders,
    answer=ChunkAnswer,
    errors=(LeaseLost, LogGap),
)
def chunk(task_id: str) -> Response:
    """As JSON, or raw bytes with their place in the headers. Bytes that are stored already are skipped."""
    if request.mimetype == "application/octet-stream":
        attempt_id, offset, checksum, raw = _raw_chunk()
        dropped = _dropped(offset)
    else:
        body = parse(ChunkBody)
        attempt_id, offset, checksum, raw = body.attempt_id, body.offset, body.checksum, body.data
        dropped = span_of(body.dropped)
    if len(raw) > CHUNK_LIMIT:
        raise TooLarge(f"A chunk has at most {CHUNK_LIMIT} bytes unpacked. Send smaller ones.")
    if hashlib.sha256(raw).hexdigest() != checksum.removeprefix("sha256:"):
        raise Invalid("The checksum is not that of the content. Send the chunk again.", "checksum")
    saved = progress.save_chunk(caller().worker_id, task_id, attempt_id, offset, raw, dropped)
    return jsonify(
        ChunkAnswer(
            status="ok", next_offset=saved.next_offset, saved_bytes=saved.saved_bytes, cancel=saved.cancel
        )
    )


def _raw_chunk() -> tuple[str, int, str, bytes]:
    """Bytes as they are, with their place in the headers."""
    offset = request.headers.get("X-Log-Offset", "")
    if not offset.isascii() or not offset.isdigit() or len(offset) > 15:
        raise Invalid("X-Log-Offset must be a number of bytes, 0 or more.", "X-Log-Offset")
    attempt_id = request.headers.get("X-Log-Attempt", "")
    if not attempt_id:
        raise Invalid("X-Log-Attempt must name the attempt.", "X-Log-Attempt")
    raw = read_bytes(CHUNK_LIMIT + 64 * 1024)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding == "gzip":
        raw = unpack(raw)
    elif encoding != "identity":
        raise Invalid("Content-Encoding may be gzip or left out.", "Content-Encoding")
    return attempt_id, int(offset), request.headers.get("X-Log-SHA256", ""), raw


def _dropped(offset: int) -> Span | None:
    """What the agent leaves out of the log's middle: bytes before this chunk."""
    text = request.headers.get("X-Log-Dropped")
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15})-([0-9]{1,15})", text, re.ASCII)
    if not match or not int(match[1]) <= int(match[2]) <= offset:
        raise Invalid(
            "X-Log-Dropped must be from-to, numbers of bytes, with from <= to <= X-Log-Offset.",
            "X-Log-Dropped",
        )
    return Span(int(match[1]), int(match[2]))


def unpack(packed: bytes) -> bytes:
    """Gunzip, but never more than a chunk may have: a bomb costs a megabyte."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        raw = unpacker.decompress(packed, CHUNK_LIMIT + 1)
    except zlib.error as error:
        raise Invalid("The body isn't gzip.", "body") from error
    if len(raw) > CHUNK_LIMIT:
        raise TooLarge(f"A chunk has at most {CHUNK_LIMIT} bytes unpacked. Send smaller ones.")
    if not unpacker.eof or unpacker.unused_data:
        raise Invalid("The body isn't one whole gzip member.", "body")
    return raw


@blueprint.put("/agents/tasks/<id:task_id>/status")
@worker_key()
@documented("Say how far an attempt is", body=StatusUpdate, answer=StatusAnswer, errors=(Conflict,))
def status(task_id: str) -> Response:
    """Only a report ends an attempt."""
    is_cancelled = progress.update_status(caller().worker_id, task_id, parse(StatusUpdate))
    return jsonify(StatusAnswer(cancel=is_cancelled))
