"""`make run`: the server and one local agent, started, watched and stopped together.

Imports nothing of the app: this process stays for as long as the server runs.
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
START_SECONDS = 60
# What runs has this long to end at Ctrl-C; then it goes on alone and is adopted at the next start.
DRAIN_SECONDS = 10
SERVER_STOP_SECONDS = 15
AGENT_AGAIN_SECONDS = 5


@dataclass
class Plan:
    """What `webapp.prepare` found."""

    host: str
    port: int
    fingerprint: str  # of the certificate; empty: plain http
    is_self_signed: bool
    instance: str
    password: str | None
    agent_folder: str
    join_token: str | None

    @property
    def address(self) -> str:
        """Where a person on this machine opens it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        scheme = "https" if self.fingerprint else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def main() -> int:
    if sys.argv[1:] == ["admin-password"]:
        return subprocess.run(
            [sys.executable, "-m", "webapp.prepare", "admin-password"], cwd=REPOSITORY, check=False
        ).returncode
    stop = _Stop()
    prepared = subprocess.run(
        [sys.executable, "-m", "webapp.prepare"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if prepared.returncode or stop.count:
        return prepared.returncode
    plan = Plan(**json.loads(prepared.stdout.splitlines()[-1]))
    _say("Starting the server")
    server = _start(["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], {})
    if not _wait_until_ready(plan, server, stop):
        _end(server, SERVER_STOP_SECONDS)
        return int(not stop.is_asked)
    agent = _start_agent(plan)
    _welcome(plan)
    return _watch(plan, server, agent, stop)


class _Stop:
    """Counts Ctrl-C and TERM. The handlers do nothing else."""

    def __init__(self) -> None:
        self.count = 0
        self.asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @property
    def is_asked(self) -> bool:
        return self.count > 0

    def _note(self, *_: Any) -> None:
        self.count += 1
        self.asked.set()


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches us alone, and we stop the parts in order."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def _start_agent(plan: Plan) -> subprocess.Popen[bytes]:
    environment = {
        "AGENT_SERVER_URL": plan.address,
        "AGENT_STORAGE_PATH": plan.agent_folder,
        "AGENT_DRAIN_S": str(DRAIN_SECONDS),
        "AGENT_INSECURE": "1",  # it never leaves this machine
        # Whatever the certificate's names and authority are: this one is ours.
        "AGENT_PIN": plan.fingerprint or "none",
        **_without_proxy(urlsplit(plan.address).hostname or ""),
    }
    _tell_identity(Path(plan.agent_folder) / "identity.json", plan.address)
    if plan.join_token and not (Path(plan.agent_folder) / "identity.json").exists():
        environment["AGENT_JOIN_TOKEN"] = plan.join_token
    return _start(["-m", "agent", "run"], environment)


def _without_proxy(host: str) -> dict[str, str]:
    """Beside what the person excepts already. Programs read either spelling."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    excepted = f"{known},{host}" if known else host
    return {"no_proxy": excepted, "NO_PROXY": excepted}


def _tell_identity(path: Path, address: str) -> None:
    """Our own agent follows when HOST or PORT change; any other one would refuse to talk to another address."""
    if not path.exists():
        return
    identity = json.loads(path.read_text())
    if identity.get("server_url") != address:
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(identity | {"server_url": address}))
        fresh.replace(path)


def _wait_until_ready(plan: Plan, server: subprocess.Popen[bytes], stop: _Stop) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None and not stop.count:
        try:
            if _is_ready(plan.address):
                return True
        except OSError:  # also what urllib raises
            stop.asked.wait(0.1)
    if server.poll() is None and not stop.count:
        _say(f"The server didn't answer within {START_SECONDS} s.")
    return False


def _is_ready(address: str) -> bool:
    """Raises OSError when it isn't. The certificate isn't looked at: nothing is said that somebody else may not hear."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with direct.open(f"{address}/health/ready", timeout=5):
        return True


def _welcome(plan: Plan) -> None:
    _say("")
    _say(f"GarageSwarm is at {plan.address}")
    if plan.is_self_signed:
        _say(f"No authority has signed its certificate. Browsers will ask; agents pin it: {plan.fingerprint}")
    if plan.password:
        _say(f"Sign in as admin with this password, which is shown only now: {plan.password}")
    if os.geteuid() == 0:
        _say(
            "You are root: so is what people run on the local agent, unless AGENT_RUN_AS or its policy file names a user. "
            "Better start this as another user."
        )
    _say("Ctrl-C stops it.")


def _watch(plan: Plan, server: subprocess.Popen[bytes], agent: subprocess.Popen[bytes], stop: _Stop) -> int:
    """Until a person stops it or the server ends. An agent that ends is started again."""
    again_at = 0.0
    while not stop.count and server.poll() is None:
        stop.asked.wait(0.5)
        if agent.poll() is not None and not stop.count:
            if not again_at:
                _say(
                    f"The local agent ended ({agent.returncode}); it is started again in {AGENT_AGAIN_SECONDS} s."
                )
                again_at = time.monotonic() + AGENT_AGAIN_SECONDS
            elif time.monotonic() > again_at:
                agent, again_at = _start_agent(plan), 0.0
    crashed = not stop.count
    if crashed:
        _say(f"The server ended by itself ({server.returncode}). Its last words are above.")
    _stop_both(server, agent, stop)
    return 1 if crashed else 0


def _stop_both(server: subprocess.Popen[bytes], agent: subprocess.Popen[bytes], stop: _Stop) -> None:
    """The agent first: it reports what ends in time, and needs the server for that."""
    _say(f"Stopping. What runs has {DRAIN_SECONDS} s; press Ctrl-C again to cancel it.")
    _signal(agent, signal.SIGTERM)
    seen = stop.count
    deadline = time.monotonic() + DRAIN_SECONDS + 15
    while agent.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        if stop.count > seen:
            seen = stop.count
            _signal(agent, signal.SIGTERM)
    _end(agent, 1)
    _end(server, SERVER_STOP_SECONDS)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        process.send_signal(number)


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """TERM, then KILL when it takes too long."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
