"""Brute force and floods: tries and requests are counted, in memory or wherever the limiter counts.

A worker with its key is never counted: what it holds up is somebody's work.
"""

import math
import threading
import time

from flask import current_app
from limits import RateLimitItem, RateLimitItemPerMinute

from webapp.errors import TooMany
from webapp.extensions import limiter

MINUTES = 15
KEY_TRIES = 60


class TooManyTries(TooMany):
    """Too many failed tries. Wait 15 minutes."""

    retry_after_s = MINUTES * 60


# Each check takes a core and 64 MiB for a while; and a crowd that asks at once must not pass before it is counted.
checking_passwords = threading.BoundedSemaphore(2)


def refuse_login_flood(address: str, name: str) -> None:
    for limit, key in _login_limits(address, name):
        if not limiter.limiter.test(limit, *key):
            raise TooManyTries("Too many failed tries from this address or for this name. Wait 15 minutes.")


def count_failed_login(address: str, name: str) -> int:
    """Count one; returns how many tries are left."""
    left = []
    for limit, key in _login_limits(address, name):
        limiter.limiter.hit(limit, *key)
        left.append(limiter.limiter.get_window_stats(limit, *key).remaining)
    return min(left)


def wrong_key(address: str) -> None:
    """Count a wrong key; past the limit 429 instead of 401. A right key from the same address still passes."""
    if not limiter.limiter.hit(RateLimitItemPerMinute(KEY_TRIES, MINUTES), "key", address):
        raise TooManyTries("Too many requests with a wrong key from this address. Wait 15 minutes.")


def count_request(credential: str) -> None:
    """Count a request of a person's session or token. Each has its own count: a script doesn't lock its owner out."""
    most = current_app.config["SETTINGS"].requests_per_minute
    _count(most, "request", credential, f"At most {most} requests a minute with one session or token.")


def count_stranger(address: str) -> None:
    """Count a request by nobody in particular."""
    most = current_app.config["SETTINGS"].stranger_requests_per_minute
    _count(
        most, "stranger", address, f"At most {most} requests a minute from one address without signing in."
    )


def _count(most: int, kind: str, key: str, words: str) -> None:
    limit = RateLimitItemPerMinute(most)
    if limiter.limiter.hit(limit, kind, key):
        return
    frees_at = limiter.limiter.get_window_stats(limit, kind, key).reset_time
    wait_s = max(1, math.ceil(frees_at - time.time()))
    error = TooMany(f"{words} Try again in {wait_s} s.")
    error.retry_after_s = wait_s
    raise error


def _login_limits(address: str, name: str) -> list[tuple[RateLimitItem, tuple[str, str]]]:
    settings = current_app.config["SETTINGS"]
    return [
        (RateLimitItemPerMinute(settings.login_tries, MINUTES), ("login-name", name[:64])),
        (RateLimitItemPerMinute(settings.login_tries_per_address, MINUTES), ("login-address", address)),
    ]
