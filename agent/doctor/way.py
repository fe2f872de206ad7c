"""The way to the server, from its name to the worker's key. Each step needs the one before."""

from __future__ import annotations

import email.utils
import ipaddress
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests

from agent import PROTOCOL, clock, program, tls
from agent.config import Config
from agent.doctor.certificate import explained, lifetime
from agent.doctor.verdict import Look, Verdict, ok, problem, warning
from agent.server import Server, Unreachable, body_of

DIAL_S = 5.0
CLOCK_OFF_S, CLOCK_WRONG_S = 30.0, 300.0
OURS = "urn:garageswarm:"
PORTS = {"http": 80, "https": 443}
SILENT = "no answer"
CAPTIVE = (
    "something in between answers instead: sign in to this network in a browser, or look whether the address "
    "and its port are GarageSwarm's"
)


@dataclass
class Way:
    """What one look found and the next needs."""

    config: Config
    server: Server | None = None
    addresses: list[Any] = field(default_factory=list)
    is_reached: bool = False
    response: requests.Response | None = None
    is_ours: bool = False

    def __post_init__(self) -> None:
        self.parts: SplitResult = urlsplit(self.config.server_url)
        self.host = self.parts.hostname or ""
        self.port = self.parts.port or PORTS[self.parts.scheme]
        found = requests.utils.get_environ_proxies(self.config.server_url, no_proxy=None)
        proxy = requests.utils.select_proxy(self.config.server_url, found)
        self.proxy = _with_scheme(proxy) if proxy else ""
        self.is_insecure = self.parts.scheme == "http"

    def looks(self) -> list[Look]:
        return [
            Look("proxy", self.look_at_proxy),
            Look("name", self.look_up),
            Look("network", self.dial),
            Look("TLS", self.shake_hands),
            Look("server", self.ask),
            Look("clock", self.compare_clocks),
        ]

    def look_at_proxy(self) -> Verdict:
        if not self.proxy:
            return ok("none for this server")
        shown = urlsplit(self.proxy)
        if not shown.hostname:
            return problem(
                "the proxy in HTTP_PROXY or HTTPS_PROXY can't be read",
                "write it like http://proxy.example:3128",
            )
        where = f"{shown.hostname}:{shown.port}" if shown.port else str(shown.hostname)
        if is_local(self.host):
            return warning(
                f"the way to {self.host} leads over the proxy {where}, though it is near",
                f"leave the proxy out: NO_PROXY={self.host}",
            )
        return ok(f"the way leads over {where}, as HTTP_PROXY or HTTPS_PROXY says")

    def look_up(self) -> Verdict | None:
        host, port = self._first_hop()
        if not host:
            return None
        try:
            self.addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            return problem(
                f"{host} isn't known here: {getattr(error, 'strerror', None) or error}",
                f"look whether the address is right; if it is, why this machine can't look it up: getent hosts {host}",
            )
        found = list(dict.fromkeys(str(one[4][0]) for one in self.addresses))
        return ok(f"{host} is {', '.join(found)}" if found != [host] else f"{host} is an address")

    def _first_hop(self) -> tuple[str, int]:
        parts = urlsplit(self.proxy) if self.proxy else self.parts
        return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 80)

    def dial(self) -> Verdict | None:
        if not self.addresses:
            return None
        host, port = self._first_hop()
        failed: dict[str, str] = {}
        for family, kind, protocol, _, address in self.addresses:
            began = clock.now()
            try:
                with socket.socket(family, kind, protocol) as dialled:
                    dialled.settimeout(DIAL_S)
                    dialled.connect(address)
            except OSError as error:
                failed[address[0]] = (
                    SILENT if isinstance(error, TimeoutError) else str(error.strerror or error)
                )
                continue
            self.is_reached = True
            return _dialled(
                f"{address[0]} port {port} answers in {1000 * (clock.now() - began):.0f} ms", failed
            )
        reasons = "; ".join(f"{address}: {why}" for address, why in failed.items())
        return problem(f"{host} port {port} can't be reached ({reasons})", _why_not(failed, port))

    def shake_hands(self) -> Verdict | None:
        """Through a proxy there is no connection of our own to look at: what it says of TLS, the next step says."""
        if self.is_insecure:
            return self._without_tls()
        if not self.is_reached or self.proxy:
            return None
        context = tls.context(self.config.pin)
        try:
            with socket.create_connection((self.host, self.port), DIAL_S) as plain:
                plain.settimeout(2 * DIAL_S)
                with context.wrap_socket(plain, server_hostname=self.host) as safe:
                    return lifetime(safe, is_pinned=bool(self.config.pin))
        except OSError as error:
            self.is_reached = False
            return explained(error, self.host, self.port)

    def _without_tls(self) -> Verdict:
        if is_local(self.host):
            return ok("not used: this server is on the same machine")
        return warning(
            "not used: the worker's key can be read on the way",
            "start the server with TLS=self, or behind a proxy with https",
        )

    def ask(self) -> Verdict | None:
        if not self.is_reached:
            return None
        try:
            self.server = Server(self.config.server_url, pin=self.config.pin)
            self.response = self.server.look()
        except Unreachable as error:
            return problem(
                f"no answer: {error}",
                "if a proxy is set, look whether it lets this through; else at the server's own log",
            )
        return self._judged(self.response)

    def _judged(self, response: requests.Response) -> Verdict:
        said = _ours(response)
        if said is None:
            return problem(f"{self.config.server_url} isn't GarageSwarm: {_who(response)}", CAPTIVE)
        self.is_ours = True
        protocol = said.get("protocol")
        if isinstance(protocol, int) and protocol > PROTOCOL:
            return warning(
                "it is GarageSwarm, and newer than this agent", f"when it suits: {program.typed('update')}"
            )
        if response.status_code >= 500:
            detail = said.get("detail") or response.status_code
            return problem(f"it is GarageSwarm, and out of order: {detail}", "look at the server's log")
        return ok(
            f"it is GarageSwarm, version {said['version']}" if "version" in said else "it is GarageSwarm"
        )

    def compare_clocks(self) -> Verdict | None:
        """To the second, as the server's clock is given. Also from whoever answers in its place."""
        if self.response is None:
            return None
        date = email.utils.parsedate_tz(self.response.headers.get("Date", ""))
        if date is None:
            return warning("the server doesn't say what time it is", "compare by hand: date --utc")
        off_s = time.time() - email.utils.mktime_tz(date)
        if abs(off_s) <= CLOCK_OFF_S:
            return ok("as the server's")
        text = f"{_span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} the server's"
        fix = "set it, if the server's is right: timedatectl set-ntp true"
        return problem(text, fix) if abs(off_s) > CLOCK_WRONG_S else warning(text, fix)


def _with_scheme(proxy: str) -> str:
    """As requests reads one that has none."""
    return str(requests.utils.prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]


def _ours(response: requests.Response) -> dict[str, Any] | None:
    """What GarageSwarm says, a refusal of it included; None for anybody else's answer."""
    said = body_of(response)
    if said is None:
        return None
    is_ours = {"version", "protocol"} <= said.keys() or str(said.get("type", "")).startswith(OURS)
    return said if is_ours else None


def _dialled(text: str, failed: dict[str, str]) -> Verdict:
    slow = [address for address, why in failed.items() if why == SILENT]
    if not slow:
        return ok(text)
    return warning(
        f"{text}, but {', '.join(slow)} doesn't, which is tried first",
        "each new connection waits for it: mend its network, or take it out of DNS",
    )


def _why_not(failed: dict[str, str], port: int) -> str:
    if all("refused" in why for why in failed.values()):
        return (
            f"nobody listens on port {port} there: is the server running, with this port, and for other machines too "
            "(HOST=0.0.0.0)?"
        )
    return "a firewall, or a network in between, lets nothing through: look whether anything else there can be reached"


def is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _who(response: requests.Response) -> str:
    kind = response.headers.get("Content-Type", "no type").partition(";")[0]
    if 300 <= response.status_code < 400:
        return f"it sends us on to {response.headers.get('Location', '?')}"
    server = response.headers.get("Server", "")
    return f"it answers {response.status_code} with {kind}{f', by {server}' if server else ''}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
