"""How gunicorn serves the app. Patched first: gevent has to replace sockets and locks before anything imports them."""

from gevent import monkey

monkey.patch_all()

import os
import resource
import ssl
import sys
from collections.abc import Callable
from typing import Any

from webapp import instance
from webapp.config import SettingsError, load  # not `config`: gunicorn has a setting of that name

try:
    settings = load()
except SettingsError as error:
    sys.exit(f"GarageSwarm can't start: {error}")

os.umask(0o077)  # the database, its journal, logs: nobody else's business
bind = f"{settings.host}:{settings.port}"
if settings.certificate_files:
    certfile, keyfile = map(str, settings.certificate_files)
worker_class = "webapp.gunicorn_worker.Worker"
workers = settings.web_concurrency
# Sockets and parked polls each hold a connection, and so an open file, for as long as they live; at the limit plain
# requests would hang. Many systems start a program with 1,024 files where they would give it more if asked.
_, files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
worker_connections = 10_000 if files == resource.RLIM_INFINITY else max(100, min(10_000, files - 200))
# A connection that idles longer than an agent's pause between polls must not be closed under it.
keepalive = 75
timeout = 60
graceful_timeout = 8
control_socket_disable = True
# gunicorn would take the scheme from a header of whoever comes from loopback; GSW_TRUSTED_PROXIES decides that here.
forwarded_allow_ips = ""
accesslog = None
errorlog = "-"
loglevel = "warning"
proc_name = "garageswarm"

_held: list[Any] = []


def on_starting(server: Any) -> None:
    """In the master, before any worker: one server a folder."""
    try:
        settings.instance_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _held.append(instance.hold(settings.instance_path))
        if settings.is_tls:
            from webapp import tls  # it loads cryptography, which without TLS only the worker needs

            tls.prepare(settings)
    except (SettingsError, OSError) as error:
        sys.exit(f"GarageSwarm can't start: {error}")


def ssl_context(_: Any, make_default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Every system's OpenSSL has an opinion of its own on how old is too old."""
    from webapp.gunicorn_worker import LateHandshake  # here, because gunicorn is still reading its settings

    context = make_default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = LateHandshake
    return context


def post_worker_init(worker: Any) -> None:
    """The app gets its loops."""
    from webapp import serving  # here, so that the master stays small

    serving.begin(worker.wsgi)
