"""A forge, as far as git sees one: `git http-backend` behind a small server of the tests' own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, SO_LINGER, SOL_SOCKET, socket
from struct import pack
from typing import IO, Any

from tests.certificates import Pair
from tests.git.repositories import ENVIRONMENT, Repository, filled
from tests.ports import free_port
from tests.services import need

PIECE = 16_384


@dataclass(frozen=True)
class Seen:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    status: int

    @property
    def credential(self) -> str:
        """`name:password` of basic authentication, or nothing."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(value).decode() if kind.lower() == "basic" else value


@dataclass
class Ways:
    """How the answers go out. Set while it runs; counts from then on."""

    accounts: dict[str, str] = field(default_factory=dict)  # name: password; empty: nobody is asked
    refuses_lfs: bool = False  # whatever the password
    redirects: dict[str, str] = field(default_factory=dict)  # the start of a path: where to
    cut_after: int | None = None  # bytes of a pack, then the connection is reset
    stall_after: int | None = None  # bytes of a pack, then nothing until `go_on` is set
    bytes_per_second: int | None = None  # of each pack
    tells: bool = False  # refuses who knows a password, and says in the answer what it was told
    is_dumb: bool = False  # files and nothing more: no shallow clone is possible


class HttpRemote:
    """Serves the repositories in its folder. `with HttpRemote(folder) as remote:`"""

    def __init__(self, folder: Path, pair: Pair | None = None) -> None:
        need("git")
        self.folder, self.pair = folder, pair
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.ways = Ways()
        self.seen: list[Seen] = []
        self.lfs_objects: dict[str, bytes] = {}
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self._server: _Server | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, repository: Repository | str) -> str:
        name = repository if isinstance(repository, str) else str(repository.path.relative_to(self.folder))
        return f"{'https' if self.pair else 'http'}://{self.host}/{name}"

    def make(self, name: str = "garage") -> Repository:
        """An empty one."""
        return Repository(self.folder / f"{name}.git")

    def filled(self, name: str = "garage", commits: int = 3) -> Repository:
        return filled(self.folder / f"{name}.git", commits)

    def lfs(self, content: bytes) -> str:
        """Keeps it as git-lfs would, and returns the pointer that is committed in its place."""
        oid = hashlib.sha256(content).hexdigest()
        self.lfs_objects[oid] = content
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"

    def packs(self) -> list[Seen]:
        """The requests that fetched objects, as far as they were answered."""
        return [one for one in self.seen if one.path.endswith("/git-upload-pack") and one.status == 200]

    # ---- its life

    def start(self) -> None:
        """Also again, on the same port."""
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Who is connected is cut off."""
        self.go_on.set()
        if self._server is not None:
            self._server.end()
            self._server = None

    def stall_packs(self, after: int = 0) -> None:
        """Answers with objects stop there until `let_go`. `stalled` is set when one has."""
        self.stalled.clear()
        self.go_on.clear()
        self.ways.stall_after = after

    def let_go(self) -> None:
        self.ways.stall_after = None
        self.go_on.set()

    def __enter__(self) -> HttpRemote:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing listens there meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, remote: HttpRemote) -> None:
        self.remote = remote
        self._open: set[socket] = set()
        super().__init__(("127.0.0.1", remote.port), _Handler)
        if remote.pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(remote.pair.cert_file, remote.pair.key_file)
            # The handshake is the connection's own thread's: who doesn't finish it holds up nobody.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        if isinstance(request, ssl.SSLSocket):
            with suppress(
                OSError, ValueError
            ):  # some take a connection that ends without a word for an attack
                request.unwrap()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away in the middle is what many tests are about."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """`seen` has it."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def _answer(self, body: bytes) -> None:
        self.remote, self.ways = self.server.remote, self.server.remote.ways
        self.close_connection = True
        way = next((to for start, to in self.ways.redirects.items() if self.path.startswith(start)), None)
        if way:
            self._short(302, Location=way + self.path)
        elif not self._may_pass():
            self._short(401, b"", **{"WWW-Authenticate": 'Basic realm="garage"'})
        elif self.ways.tells:
            said = f"{self._seen(403).credential}\n{self.headers.get('Authorization')}\n\x1b[31mred\u202e\n"
            self._short(403, said.encode(), **{"Content-Type": "text/plain"})
        elif "/info/lfs/" in self.path or self.path.startswith("/lfs/"):
            self._lfs(body)
        elif self.ways.is_dumb:
            self._file()
        else:
            self._backend(body)

    def _may_pass(self) -> bool:
        if self.ways.refuses_lfs and "/info/lfs/" in self.path:
            return False
        if not self.ways.accounts or self.path.startswith("/lfs/"):
            return True
        name, _, password = self._seen(0).credential.partition(":")
        return bool(name) and self.ways.accounts.get(name) == password

    def _seen(self, status: int) -> Seen:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Seen(self.command, self.path, headers, status)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _short(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.remote.seen.append(self._seen(status))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    # ---- what git asks for

    def _file(self) -> None:
        path, _, query = self.path.partition("?")
        file = self.remote.folder / path.lstrip("/")
        # With a query it asks for the protocol that this one doesn't speak; the plain file is the answer all the same.
        self._short(200, file.read_bytes()) if file.is_file() else self._short(404)
        assert query in ("", "service=git-upload-pack"), query

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        said = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.remote.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        command = ["git", "-c", "safe.directory=*", "http-backend"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=said) as backend:
            assert backend.stdin
            assert backend.stdout
            threading.Thread(target=_feed, args=(backend.stdin, body), daemon=True).start()
            try:
                self._relay(backend.stdout, is_pack=path.endswith("/git-upload-pack"))
            finally:
                backend.kill()

    def _relay(self, said: IO[bytes], *, is_pack: bool) -> None:
        """A CGI program's answer as HTTP has it."""
        headers: dict[str, str] = {}
        while line := said.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(headers.pop("status", "200").split()[0])
        self.remote.seen.append(self._seen(status))
        self.send_response(status)
        for name, value in {**headers, "connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if is_pack:
            self._send_pack(said)
        else:
            shutil.copyfileobj(said, self.wfile)

    def _send_pack(self, said: IO[bytes]) -> None:
        sent, piece = 0, PIECE
        # Few bytes at a time where the test counts them.
        if self.ways.cut_after is not None or self.ways.stall_after is not None:
            piece = 256
        while data := said.read(piece):
            if self.ways.cut_after is not None and sent + len(data) > self.ways.cut_after:
                self._reset()
                return
            if self.ways.stall_after is not None and sent + len(data) > self.ways.stall_after:
                self.wfile.flush()
                self.remote.stalled.set()
                self.remote.go_on.wait()
            self.wfile.write(data)
            sent += len(data)
            if self.ways.bytes_per_second:
                time.sleep(len(data) / self.ways.bytes_per_second)

    def _reset(self) -> None:
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        self.connection.close()

    # ---- large files

    def _lfs(self, body: bytes) -> None:
        """The batch API of git-lfs, for downloads."""
        if self.path.startswith("/lfs/"):
            content = self.remote.lfs_objects.get(self.path.removeprefix("/lfs/"))
            return self._short(404) if content is None else self._short(200, content)
        objects = [self._lfs_object(**wanted) for wanted in json.loads(body or b"{}").get("objects", [])]
        answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
        return self._short(200, answer, **{"Content-Type": "application/vnd.git-lfs+json"})

    def _lfs_object(self, oid: str, size: int) -> dict[str, Any]:
        if oid not in self.remote.lfs_objects:
            return {"oid": oid, "size": size, "error": {"code": 404, "message": "Not here"}}
        href = self.remote.url(f"lfs/{oid}")
        return {"oid": oid, "size": size, "authenticated": True, "actions": {"download": {"href": href}}}


def _feed(pipe: IO[bytes], body: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(body)
