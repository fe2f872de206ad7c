"""One method per endpoint, no policy: what repeats, and when, is decided elsewhere."""

from __future__ import annotations

import json
import ssl
import threading
import zlib
from hashlib import sha256
from typing import Any, NoReturn
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from agent import __version__, retry, tls
from agent.answer import offset
from agent.logs import Piece

CONNECT_S = 10.0
READ_S = 30.0
COMPRESS_FROM_BYTES = 256
JSON_TYPES = frozenset({"application/json", "application/problem+json"})


class Unreachable(Exception):
    """No answer of ours: network, a proxy's page, a redirect, 429, 5xx. To be repeated."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Failing(Unreachable):
    """It answers, and says itself that it can't for now."""


class Distrusted(Unreachable):
    """Somebody answers who can't show that he is the server. Nothing was told to him."""


class Refused(Exception):
    """The server's own no. `type`, `detail` and `next_offset` as in its problem details."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.type = str(problem.get("type", ""))
        self.detail = str(problem.get("detail") or problem.get("title") or "")
        self.next_offset = offset(problem)
        super().__init__(f"{status} {self.detail}".strip())


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from taking a password out of ~/.netrc, which only happens where no auth is set."""
    return request


def gzip(content: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(content) + packer.flush()


class Server:
    """Every method raises Unreachable or Refused. `pin`: agent/tls.py. Safe to use from several threads."""

    def __init__(
        self, url: str, worker_id: str = "", api_key: str = "", pin: str = "", former_key: str = ""
    ) -> None:
        self.url = url
        self.pin = pin
        if url.startswith("https:"):
            tls.context(pin)  # authorities that can't be read are said now, not by a thread of its own
        self.worker_id = worker_id
        self._api_key = api_key
        self.secrets = tuple(key for key in (api_key, former_key) if key)  # what no log may show
        self._local = threading.local()
        self._breaks = 0  # how often a connection failed

    @property
    def secret(self) -> str:
        """The worker's key."""
        return self._api_key

    def learn(self, api_key: str) -> None:
        """A fresh key: no log may show it from now on."""
        self.secrets = (*self.secrets, api_key)

    def use(self, api_key: str) -> None:
        """From the next call on."""
        self._api_key = api_key

    def register(self, body: dict[str, Any]) -> dict[str, Any]:
        """→ `{worker_id, api_key, status, code}`"""
        return self._json("POST", "/api/v1/workers/register", body)

    def sync(self, body: dict[str, Any], wait_s: float) -> dict[str, Any]:
        path = f"/api/v1/workers/{quote(self.worker_id, safe='')}/sync"
        return self._json("POST", path, {**body, "wait_s": wait_s}, read_s=wait_s + 10)

    def rotate_key(self) -> dict[str, Any]:
        """→ `{api_key, key_id, old_key_expires_at}`"""
        return self._json("POST", f"/api/v1/workers/{quote(self.worker_id, safe='')}/rotate-key")

    def look(self) -> requests.Response:
        """Whatever answers there, for who wants to know more of it than that it isn't ours. Raises Unreachable."""
        return self._sent("GET", "/api/v1/agents/release", None, {}, CONNECT_S)

    def control_status(self) -> dict[str, Any]:
        """→ `{connected, …}`, where the key is taken: whether this worker's control socket is open."""
        return self._json("GET", f"/api/v1/agents/{quote(self.worker_id, safe='')}/cc-status")

    def release(self) -> dict[str, Any]:
        """→ `{version, protocol, sha256, size, url}` of the agent that the server gives away."""
        return self._json("GET", "/api/v1/agents/release")

    def agent_file(self, url: str, size: int) -> bytes:
        """What is at this path of the server: a file of `size` bytes. Of a longer one only a byte more is read."""
        with self._sent("GET", url, None, {}, READ_S, stream=True) as response:
            if response.status_code != 200:
                return _refused_file(response)
            try:
                return bytes(response.raw.read(size + 1, decode_content=True))
            except (OSError, HTTPError) as error:
                raise _no_answer(error) from error

    def task_data(self, data_url: str) -> dict[str, Any]:
        """`data_url` is a path of ours: anything else would carry the key to another place."""
        if not data_url.startswith("/api/v1/"):
            raise Refused(400, {"detail": f"data_url {data_url!r} is not a path of the API"})
        return self._json("GET", data_url)

    def status(self, task_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """How far an attempt is. → `{cancel}`"""
        return self._json("PUT", f"{_task(task_id)}/status", body)

    def project_status(self, project_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """What an operation on a project came to. → `{status}`: the checkout's."""
        return self._json("POST", f"/api/v1/projects/{quote(project_id, safe='')}/status", body)

    def log_chunk(self, task_id: str, attempt_id: str, piece: Piece) -> dict[str, Any]:
        """→ `{status, next_offset, saved_bytes, cancel}`; offsets count unpacked bytes."""
        content = piece.content
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Log-Attempt": attempt_id,
            "X-Log-Offset": str(piece.offset),
            "X-Log-Phase": "run",
            "X-Log-SHA256": sha256(content).hexdigest(),
        }
        if piece.dropped:
            headers["X-Log-Dropped"] = f"{piece.dropped[0]}-{piece.dropped[1]}"
        if len(content) > COMPRESS_FROM_BYTES:
            content = gzip(content)
            headers["Content-Encoding"] = "gzip"
        return self._call("POST", f"{_task(task_id)}/logs/chunk", content, headers)

    def _json(
        self, method: str, path: str, body: dict[str, Any] | None = None, read_s: float = READ_S
    ) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        return self._call(method, path, content, {"Content-Type": "application/json"}, read_s)

    def _call(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str], read_s: float = READ_S
    ) -> dict[str, Any]:
        return _answer(self._sent(method, path, content, headers, read_s))

    def _sent(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        read_s: float,
        **more: Any,
    ) -> requests.Response:
        try:
            return self._session().request(
                method,
                self.url + path,
                data=content,
                headers={**headers, **({"X-Worker-API-Key": self._api_key} if self._api_key else {})},
                timeout=(CONNECT_S, read_s),
                allow_redirects=False,  # requests would carry the worker key along to any host
                **more,
            )
        except (OSError, HTTPError, ValueError) as error:
            self._breaks += 1
            raise _no_answer(error) from error

    def _session(self) -> requests.Session:
        """This thread's. Where one connection broke, those that others keep open for later may be as dead, and each would
        cost its own time-out: then everybody dials anew."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is not None and self._local.breaks != self._breaks:
            session.close()
            session = None
        if session is None:
            session = self._local.session = requests.Session()
            self._local.breaks = self._breaks
            session.auth = _no_auth
            if self.url.startswith("https:"):
                tls.mount(session, self.pin)
            session.headers["User-Agent"] = f"garageswarm-agent/{__version__}"
            session.headers["Accept"] = "application/json"
        return session


def _refused_file(response: requests.Response) -> NoReturn:
    _answer(response)
    raise Unreachable(_not_ours(response))


def _task(task_id: str) -> str:
    return f"/api/v1/agents/tasks/{quote(task_id, safe='')}"


def _answer(response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    body = body_of(response)
    if body is None:
        raise Unreachable(_not_ours(response), _retry_after(response))
    if 200 <= status < 300:
        return body
    if retry.is_repeated(status):
        raise Failing(f"the server says {status}", _retry_after(response))
    raise Refused(status, body)


def body_of(response: requests.Response) -> dict[str, Any] | None:
    """The JSON object of an answer, None where it isn't one of ours."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES or 300 <= response.status_code < 400:
        return None
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _not_ours(response: requests.Response) -> str:
    if 300 <= response.status_code < 400:
        return f"redirected to {response.headers.get('Location', '?')}, which is never followed"
    if response.status_code == 400 and b"https" in response.content.lower():
        return "that port speaks https: give --server with https:// (and --pin where the server made its certificate)"
    return f"an answer ({response.status_code}) that isn't the server's"


def _retry_after(response: requests.Response) -> float | None:
    """Seconds; the form with a date is left out, because this machine's wall clock may be wrong."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _no_answer(error: BaseException) -> Unreachable:
    cause = _innermost(error)
    if isinstance(cause, tls.WrongCertificate):
        return Distrusted(str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Distrusted(f"its certificate can't be trusted ({cause.verify_message}). {tls.WAYS_TO_TRUST}")
    return Unreachable(str(cause) or type(cause).__name__)


def _innermost(error: BaseException) -> BaseException:
    """Requests wraps `Connection refused` in three layers."""
    inner: BaseException = error
    while True:
        wrapped = inner.args[0] if inner.args else None  # urllib3 wraps TLS's errors so
        deeper = getattr(inner, "reason", None) or inner.__cause__ or inner.__context__ or wrapped
        if not isinstance(deeper, BaseException) or deeper is inner:
            return inner
        inner = deeper
