"""Ports for servers that tests start, and start again on the same one."""

from __future__ import annotations

import random
import socket
from pathlib import Path

FIRST = 10_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_dice = random.SystemRandom()


def free_port() -> int:
    """Below those that the system gives to outgoing connections: nobody's connection can take it before the server
    does, nor while the server is away for a moment."""
    for _ in range(100):
        port = _dice.randrange(FIRST, _end())
        with socket.socket() as probe:
            # As servers do: connections of an earlier one that are only waiting to be forgotten don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {FIRST} to {_end()} is free")


def _end() -> int:
    try:
        lowest = int(RANGE.read_text().split()[0])
    except (OSError, ValueError):
        lowest = 32_768
    return lowest if lowest > FIRST + 1000 else 32_768
