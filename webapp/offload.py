"""CPU-bound work away from the event loop: a gevent worker that is blocked answers nobody."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import gevent
from gevent import monkey

P = ParamSpec("P")
R = TypeVar("R")


def offload(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run it in a real thread under gevent (others go on meanwhile), directly elsewhere.

    For code that releases the GIL: hashing, compression. It may not use the database or the request.
    """
    if not monkey.is_module_patched("threading"):
        return function(*args, **kwargs)
    result: R = gevent.get_hub().threadpool.apply(function, args, kwargs)
    return result
