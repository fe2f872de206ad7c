"""What a request and an answer look like. Bodies say it themselves (`body.example`); an answer's is made of its shape and
of the values here.

Tests send every request as it stands in the document, and hold every example of an answer against its schema.
"""

from collections.abc import Callable, Mapping
from typing import Any

from webapp.errors import GarageError

SHAPE = "#/components/schemas/"
Json = dict[str, Any]

IDS = {
    "task_id": "01900000-0000-7000-8000-000000000001",
    "attempt_id": "01900000-0000-7000-8000-000000000002",
    "worker_id": "01900000-0000-7000-8000-000000000003",
    "agent_id": "01900000-0000-7000-8000-000000000003",
    "key_id": "k3J9xQ2a",
    "name": "deploy/prod",
    "project_id": "01900000-0000-7000-8000-000000000005",
    "credential_id": "01900000-0000-7000-8000-000000000006",
    "webhook_id": "01900000-0000-7000-8000-000000000007",
}
ORGANISATION = "01900000-0000-7000-8000-000000000004"
CHECKOUT = "01900000-0000-7000-8000-000000000008"
_BEGAN, _ENDED = "2026-01-31T12:00:04.120Z", "2026-01-31T12:00:09.240Z"
# Values of members, by name or by shape and name, where the type alone would say little.
MEMBERS: Mapping[str, Any] = {
    **IDS,
    "AttemptAnswer.id": IDS["attempt_id"],
    "AttemptAnswer.ended_at": _ENDED,
    "AttemptAnswer.error": None,
    "AttemptAnswer.execution_time_ms": 5120,
    "AttemptAnswer.failure_class": None,
    "AttemptAnswer.log_removed_at": None,
    "AttemptAnswer.log_size": 18204,
    "AttemptAnswer.metrics": {},
    "AttemptAnswer.result": {"output": "42 passed", "data": None},
    "AttemptAnswer.stage": None,
    "AttemptAnswer.status": "completed",
    "Cancel.reason": "operator cancelled it",
    "EventAnswer.type": "task_started",
    "EventAnswer.cursor": 1042,
    "FieldProblem.field": "limit",
    "FieldProblem.message": "Input should be less than or equal to 200",
    "FoundTool.name": "shell",
    "FoundTool.problem": "",
    "FoundTool.signed_in": None,
    "FoundTool.version": "5.2.15",
    "FoundTool.works": True,
    "JoinTokenAnswer.id": IDS["key_id"],
    "JoinTokenAnswer.name": "the rack",
    "JoinTokenAnswer.workers": [IDS["worker_id"]],
    "LockAnswer.name": IDS["name"],
    "NewJoinTokenAnswer.id": IDS["key_id"],
    "NewJoinTokenAnswer.name": "the rack",
    "ChunkAnswer.status": "ok",
    "Begun.project_id": IDS["project_id"],
    "CheckoutAnswer.id": CHECKOUT,
    "CheckoutRow.id": CHECKOUT,
    "CommitAnswer.subject": "Say what went wrong",
    "CredentialAnswer.id": IDS["credential_id"],
    "CredentialAnswer.name": "deploy key",
    "CredentialAnswer.projects": ["ada_app"],
    "CredentialGone.projects": ["ada_app"],
    "DeliveryAnswer.event": "push",
    "HookAnswer.said": "lab-01: pulled.",
    "HostKeyAnswer.key_type": "ssh-ed25519",
    "NewWebhookAnswer.id": IDS["webhook_id"],
    "Placing.checkout_id": CHECKOUT,
    "Placing.project_id": IDS["project_id"],
    "ProjectAnswer.id": IDS["project_id"],
    "ProjectItem.id": IDS["project_id"],
    "ProjectStatus.project_id": IDS["project_id"],
    "ProjectToUse.id": IDS["project_id"],
    "WebhookAnswer.id": IDS["webhook_id"],
    **{f"{shape}.name": "app" for shape in ("ProjectAnswer", "ProjectItem", "ProjectToUse")},
    **{f"{shape}.status": "active" for shape in ("CallbackAnswer", "ProjectAnswer", "ProjectItem")},
    "ReleaseAnswer.size": 1_480_213,
    "ReleaseAnswer.url": "/agent.pyz",
    "ReleaseAnswer.version": "0.1.0",
    "Offer.organisation": {"id": ORGANISATION, "name": "Default"},
    "Reported.detail": "",
    "Reported.errors": [],
    "Reported.status": 200,
    "RegisteredAnswer.status": "pending",
    "StatusAnswer.status": "running",
    "SyncAnswer.stream": [],
    "TaskRow.id": IDS["task_id"],
    "TaskRow.name": "tests",
    "TaskRow.status": "completed",
    "TaskToRun.id": IDS["task_id"],
    "ToolAnswer.description": "Run a script.",
    "ToolAnswer.name": "shell",
    "ToolAnswer.title": "Shell",
    "WorkerAnswer.code": None,
    "WorkerAnswer.id": IDS["worker_id"],
    "WorkerAnswer.labels": {"os": "linux", "site": "attic"},
    "WorkerAnswer.name": "lab-01",
    "WorkerAnswer.policy": {"tools": ["shell"], "max_minutes": 60},
    "WorkerAnswer.shown_status": "busy",
    "WorkerAnswer.status": "approved",
    "WorkerAnswer.tools": ["shell"],
    "action": "",
    "agent_version": "0.1.0",
    "ahead": 0,
    "announce": None,
    "announcement": None,
    "api_key": "gsw_k3J9xQ2a_…",
    "attempt": 1,
    "attempts_made": 1,
    "author": "Ada",
    "behind": 0,
    "branch": "main",
    "branches": ["main", "release/2"],
    "code": "K7P-M2X",
    "commit": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "context": {},
    "cpu_percent": 12.5,
    "created_at": "2026-01-31T12:00:03.950Z",
    "created_by": "ada",
    "data_url": f"/api/v1/agents/tasks/{IDS['task_id']}/data",
    "delete_requested_at": None,
    "depth": None,
    "dirty": [],
    "dirty_count": 0,
    "disk_free_bytes": 84_000_000_000,
    "disk_total_bytes": 256_000_000_000,
    "drain_note": None,
    "drain_requested_at": None,
    "drain_until": None,
    "ended_at": _ENDED,
    "error": None,
    "exit_code": 0,
    "expires_at": None,
    "fingerprint": "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
    "git_url": "https://git.example/team/app.git",
    "host": "git.example",
    "hostname": "lab-01",
    "input": {"script": "make test"},
    "labels": {"os": "linux"},
    "lease_left_s": 96.5,
    "lease_s": 120.0,
    "load_1m": 0.4,
    "local_path": "/var/lib/garageswarm/projects/ada_app",
    "locks": [IDS["name"]],
    "lost_after_s": 600.0,
    "max_retries": 3,
    "memory_percent": 38.0,
    "memory_total_bytes": 16_000_000_000,
    "new_status": "completed",
    "next": None,
    "next_offset": 18204,
    "no_output_timeout_s": None,
    "mirror_bytes": 96_000_000,
    "not_before": None,
    "notes": [],
    "notice": "",
    "number": 1,
    "other_fingerprint": None,
    "other_seen_at": None,
    "other_seen_by": None,
    "owner": "ada",
    "path": "ada_app",
    "openapi": "3.1.0",
    "plan_limit": 1,
    "platform": "Debian 12, x86_64",
    "progress": 100.0,
    "project_id": None,
    "protocol": 2,
    "quarantined_until": None,
    "reason": "doesn't have the label gpu",
    "ref": "main",
    "ref_kind": "branch",
    "retry_of": None,
    "retry_on": ["agent_error", "offer_lost", "disk_low"],
    "rotate_requested_at": None,
    "saved_bytes": 6,
    "schema": {"type": "object", "properties": {"script": {"type": "string"}}},
    "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    "size_bytes": 184_220_000,
    "slots": 2,
    "started_at": _BEGAN,
    "stream": f"task:{IDS['task_id']}",
    "submitted_by": "ada",
    "subject": "Say what went wrong",
    "summary": "42 passed",
    "task": "tests",
    "timeout_s": 3600,
    "token": "gsj_k3J9xQ2a_…",
    "tool": "shell",
    "twin_seen_at": None,
    "type": "shell",
    "unknown": [],
    "unpushed": [],
    "unpushed_count": 0,
    "uses_left": 10,
    "version": 1,
    "waiting": [],
    "worker": "lab-01",
}
# Of shapes that are others with more.
ALSO = {"TaskAnswer": "TaskRow", "TaskShown": "TaskRow", "NewJoinTokenAnswer": "JoinTokenAnswer"}
FORMATS = {"uuid": IDS["task_id"], "date-time": _BEGAN}


class Examples:
    """Of the shapes of one document, by name."""

    def __init__(self, shapes: Mapping[str, Json]) -> None:
        self._shapes = shapes

    def of(self, name: str) -> Any:
        schema = self._shapes[name]
        if "examples" in schema:
            return schema["examples"][0]
        members = schema.get("properties", {})
        return {member: self._member(name, member, part) for member, part in members.items()}

    def _member(self, shape: str, member: str, schema: Json) -> Any:
        for key in (f"{shape}.{member}", f"{ALSO.get(shape)}.{member}"):
            if key in MEMBERS:
                return MEMBERS[key]
        if member in MEMBERS and not {"$ref", "enum"} & set(schema):
            return MEMBERS[member]
        return self._value(schema)

    def _value(self, schema: Json) -> Any:
        """Of the type alone."""
        if "$ref" in schema:
            return self.of(schema["$ref"].removeprefix(SHAPE))
        if "anyOf" in schema:
            return self._value(next(kind for kind in schema["anyOf"] if kind.get("type") != "null"))
        for word in ("examples", "enum"):
            if word in schema:
                return schema[word][0]
        if "const" in schema:
            return schema["const"]
        make = _BY_TYPE.get(schema.get("type", ""))
        return make(self, schema) if make else None

    def _list(self, schema: Json) -> list[Any]:
        return [self._value(schema["items"])] if schema.get("items") else []


def _text(schema: Json) -> str:
    return FORMATS.get(schema.get("format", ""), "…")


_BY_TYPE: dict[str, Callable[[Examples, Json], Any]] = {
    "array": Examples._list,
    "object": lambda _, schema: {},
    "integer": lambda _, schema: schema.get("minimum", 0),
    "number": lambda _, schema: float(schema.get("minimum", 0)),
    "string": lambda _, schema: _text(schema),
    "boolean": lambda _, schema: False,
}


def problem(kind: type[GarageError]) -> Json:
    """What an error of this kind looks like."""
    words = (kind.__doc__ or "").strip().splitlines()[0]
    return {
        "type": f"urn:garageswarm:error:{kind.slug}",
        "title": words,
        "status": kind.status,
        "detail": words,
        "error_id": "5f0c2d9a1b7e",
    }
