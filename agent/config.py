"""Settings of one agent: command line, then environment, then defaults."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from agent import identity, machine, roots, tls
from agent.cap import CAP_BYTES, Cap
from agent.errors import BadConfig
from agent.roots import Roots

LABEL = re.compile(r"(?P<key>[A-Za-z0-9_.-]{1,63})=(?P<value>[^\s,]{0,255})")
MAX_SLOTS = 1000
STORAGE_NAME = ".garageswarm"
DEFAULT_STORAGE = Path.home().absolute() / STORAGE_NAME


@dataclass(frozen=True)
class Config:
    server_url: str  # without a slash at the end
    name: str
    labels: dict[str, str]
    slots: int
    plan_limit: int
    storage: Path
    jobs: Path  # one directory per attempt
    join_token: str | None = None
    drain_s: float = 10.0
    disk_floor_bytes: int = 2 * 1024**3  # 0: no floor at all
    jobs_bytes: int = 20 * 1024**3  # what `jobs` may take before leftovers are removed; 0: anything
    has_control_socket: bool = True
    log_cap: Cap = field(default_factory=Cap)
    pin: str = ""  # the server's certificate, `sha256:…`; empty: authorities vouch for it
    policy: Path | None = None  # the owner's policy file; None: where it usually is, if it is there
    run_as: str = ""  # the user that tasks run as, where the policy file doesn't say
    http: tuple[str, int] | None = None  # where `/health` and `/metrics` are answered
    given_roots: Roots | None = None  # None: all of them in the storage

    @property
    def roots(self) -> Roots:
        return self.given_roots or roots.inside(self.storage)

    @property
    def labels_text(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.labels.items())

    @property
    def slots_text(self) -> str:
        """Empty for what the machine itself suggests: it may get more cores."""
        return "" if self.slots == default_slots() else str(self.slots)


def load(chosen: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """Raises BadConfig for a setting that is missing or malformed."""
    storage = storage_path(chosen, environ)
    known = identity.look(storage)
    slots = chosen.slots or environ.get("AGENT_SLOTS") or (known.slots if known else "")
    server = _server(chosen, environ, known.server_url if known and known.is_registered else "")
    jobs = jobs_path(environ, storage)
    return Config(
        server_url=server,
        pin=_pin(chosen.pin or environ.get("AGENT_PIN", ""), server, known),
        name=_name(chosen.name or environ.get("AGENT_NAME") or machine.host_name()),
        labels=_labels(_label_words(chosen, environ, known)),
        slots=_number("AGENT_SLOTS", slots, default_slots()),
        plan_limit=_number("AGENT_PLAN_LIMIT", environ.get("AGENT_PLAN_LIMIT"), default_plan_limit()),
        storage=storage,
        jobs=jobs,
        join_token=chosen.join_token or environ.get("AGENT_JOIN_TOKEN") or None,
        drain_s=drain_s(environ),
        disk_floor_bytes=disk_floor(environ),
        jobs_bytes=_bytes("AGENT_JOBS_BYTES", environ, 20 * 1024**3),
        has_control_socket=_flag(environ, "AGENT_CONTROL", default="1"),
        log_cap=Cap(_bytes("AGENT_LOG_CAP_BYTES", environ, CAP_BYTES, low=1024**2)),
        policy=_path(chosen.policy or environ.get("AGENT_POLICY")),
        run_as=environ.get("AGENT_RUN_AS", ""),
        http=_http(environ.get("AGENT_HTTP", "")),
        given_roots=roots.load(environ, storage, jobs, mirrors_bytes(environ)),
    )


def storage_path(chosen: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    return given_storage(chosen, environ) or DEFAULT_STORAGE


def given_storage(chosen: argparse.Namespace, environ: Mapping[str, str]) -> Path | None:
    given = chosen.storage or environ.get("AGENT_STORAGE_PATH")
    return Path(given).expanduser().absolute() if given else None


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser().absolute() if text else None


def jobs_path(environ: Mapping[str, str], storage: Path) -> Path:
    return Path(environ.get("AGENT_JOBS_WORKSPACE") or storage / "jobs").expanduser().absolute()


def mirrors_bytes(environ: Mapping[str, str]) -> int:
    return _bytes("AGENT_MIRRORS_BYTES", environ, roots.MIRRORS_BYTES)


def drain_s(environ: Mapping[str, str]) -> float:
    return _number("AGENT_DRAIN_S", environ.get("AGENT_DRAIN_S"), 10, low=0, high=86_400)


def disk_floor(environ: Mapping[str, str]) -> int:
    return _bytes("AGENT_DISK_FLOOR_BYTES", environ, 2 * 1024**3)


def add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--storage", metavar="PATH", help="default: ~/.garageswarm (AGENT_STORAGE_PATH)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="the control plane (AGENT_SERVER_URL)")
    parser.add_argument("--join-token", metavar="T", help="enrols without waiting (AGENT_JOIN_TOKEN)")
    parser.add_argument("--name", metavar="N", help="default: the host name (AGENT_NAME)")
    parser.add_argument("--label", metavar="K=V", action="append", default=[], help="(AGENT_LABELS)")
    parser.add_argument("--slots", metavar="N", help="tasks at once; default: cores (AGENT_SLOTS)")
    parser.add_argument(
        "--pin", metavar="P", help="the server's certificate, sha256:…; kept; none forgets it (AGENT_PIN)"
    )
    parser.add_argument("--policy", metavar="PATH", help="what this machine's owner allows (AGENT_POLICY)")
    parser.add_argument("--insecure", action="store_true", help="allow plain http (AGENT_INSECURE=1)")
    add_storage(parser)


def _server(chosen: argparse.Namespace, environ: Mapping[str, str], known: str) -> str:
    """`known` was accepted when this machine joined: it isn't judged again."""
    url = chosen.server or environ.get("AGENT_SERVER_URL", "")
    is_insecure = chosen.insecure or _flag(environ, "AGENT_INSECURE")
    return server_url(url, is_insecure=is_insecure) if url or not known else known


def _pin(given: str, server: str, known: identity.Identity | None) -> str:
    """The stored one holds until another is given, or none."""
    stored = known.pin if known and known.server_url == server else ""
    pin = tls.parse_pin(given) if given else stored
    if pin and not server.startswith("https:"):
        raise BadConfig(f"a pin is for a certificate, and {server} has none: give its https address")
    return pin


def server_url(text: str, *, is_insecure: bool) -> str:
    """The server's URL in the one form that is stored and compared."""
    if not text:
        raise BadConfig("no server: give --server URL or AGENT_SERVER_URL")
    parts = _split(text)
    if parts.scheme == "http" and not is_insecure and not _is_loopback(parts.hostname or ""):
        raise BadConfig(f"{text} is not https: the worker key would cross the network readable (--insecure)")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
        is_sound = parts.port != 0
    except ValueError:
        raise BadConfig(f"server URL {text!r} can't be read") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_sound:
        raise BadConfig(f"server URL {text!r} must look like https://garage.example")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadConfig("server URL must have no user, query or fragment")
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _flag(environ: Mapping[str, str], name: str, default: str = "") -> bool:
    value = (environ.get(name) or default).lower()
    if value not in {"", "0", "1", "false", "true", "no", "yes"}:
        raise BadConfig(f"{name} must be 0 or 1, not {value!r}")
    return value in {"1", "true", "yes"}


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise BadConfig("name must have 1 to 100 printable characters (--name, AGENT_NAME)")
    return name


def _label_words(
    chosen: argparse.Namespace, environ: Mapping[str, str], known: identity.Identity | None
) -> list[str]:
    """Those of joining, unless others are said; AGENT_LABELS= says that there are none."""
    if chosen.label or "AGENT_LABELS" in environ:
        return [*environ.get("AGENT_LABELS", "").split(), *chosen.label]
    return known.labels.split() if known else []


def _labels(words: Sequence[str]) -> dict[str, str]:
    labels = {}
    for word in words:
        match = LABEL.fullmatch(word)
        if not match:
            raise BadConfig(f"label {word!r} must look like key=value, without spaces")
        labels[match["key"]] = match["value"]
    return labels


def _number(name: str, text: str | None, default: int, low: int = 1, high: int = MAX_SLOTS) -> int:
    if text is None or text == "":
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not low <= int(text) <= high:
        raise BadConfig(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _http(text: str) -> tuple[str, int] | None:
    """`9101` is that port of this machine alone."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    try:
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise BadConfig(f"AGENT_HTTP must look like 127.0.0.1:9101, not {text!r}") from None
    return host, _number("the port in AGENT_HTTP", port or "?", 0, high=65_535)


def _bytes(name: str, environ: Mapping[str, str], default: int, low: int = 0) -> int:
    return _number(name, environ.get(name), default, low=low, high=2**62)


def default_slots() -> int:
    return max(2, os.cpu_count() or 1)


def default_plan_limit() -> int:
    """A plan needs about half a gigabyte; one is kept for the machine itself."""
    by_memory = (machine.memory_bytes() - 10**9) // (5 * 10**8)
    return max(1, min(2 * (os.cpu_count() or 1), by_memory))
