"""Brute force: failed tries are counted by address and by account, in memory or wherever the limiter counts."""

import threading

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


def _login_limits(address: str, name: str) -> list[tuple[RateLimitItem, tuple[str, str]]]:
    settings = current_app.config["SETTINGS"]
    return [
        (RateLimitItemPerMinute(settings.login_tries, MINUTES), ("login-name", name[:64])),
        (RateLimitItemPerMinute(settings.login_tries_per_address, MINUTES), ("login-address", address)),
    ]
