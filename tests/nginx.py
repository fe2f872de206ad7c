"""A real nginx as a reverse proxy, with the configuration that docs/operating.md gives people."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import services
from tests.certificates import Pair
from tests.ports import free_port
from tests.stack import ROOT, eventually

# One process, which is the test's own and runs as whoever runs the tests.
AROUND = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{inside}
}}
"""


def documented() -> str:
    found = re.search(r"^```nginx\n(.*?)^```$", (ROOT / "docs" / "operating.md").read_text(), re.M | re.S)
    assert found, "docs/operating.md has no nginx configuration"
    return found[1]


def configured(listen: int, server_port: int, pair: Pair) -> str:
    """What is documented, with the ports and files of this test."""
    text = documented()
    for written, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{listen} ssl;"),
        ("127.0.0.1:8000", f"127.0.0.1:{server_port}"),
        ("/etc/ssl/garage.example/fullchain.pem", str(pair.cert_file)),
        ("/etc/ssl/garage.example/privkey.pem", str(pair.key_file)),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, ours)
    return text


@contextmanager
def in_front_of(server_port: int, pair: Pair, folder: Path) -> Iterator[str]:
    """The https address at which the server is reached through it."""
    services.need("nginx")
    folder.mkdir()
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(AROUND.format(folder=folder, inside=configured(port, server_port, pair)))
    command = [
        str(services.nginx_path()),
        "-c",
        str(config),
        "-p",
        str(folder),
        "-e",
        str(folder / "error.log"),
    ]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        eventually(lambda: _answers(process, port, folder), what="nginx to listen")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "output").read_text() + (folder / "error.log").read_text()
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
