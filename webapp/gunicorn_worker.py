"""gunicorn's gevent worker, taught to stop: parked polls, open pages and idle connections end when it is told to."""

from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


class IdleTimeout(gevent.Timeout):
    """How long a connection may wait for its next request; `end` is the same, now."""

    def __init__(self, seconds: float, idle: set["IdleTimeout"]) -> None:
        super().__init__(seconds, False)  # type: ignore[arg-type]  # False: end in silence
        self._idle = idle
        self._greenlet: Any = None

    def __enter__(self) -> "IdleTimeout":
        self._greenlet = gevent.getcurrent()
        self._idle.add(self)
        super().__enter__()
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> Any:
        self._idle.discard(self)
        return super().__exit__(kind, value, trace)

    def end(self) -> None:
        gevent.get_hub().loop.run_callback(self._greenlet.throw, self)


class Worker(GeventWorker):
    """Without this a stopping server would wait `graceful_timeout` for browsers that keep a connection open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: set[IdleTimeout] = set()

    def timeout_ctx(self) -> IdleTimeout:
        return IdleTimeout(self.cfg.keepalive, self._idle)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)

    def _let_go(self) -> None:
        from webapp import serving

        serving.stop()
        for _ in range(int(self.cfg.graceful_timeout * 10)):
            for timeout in list(self._idle):
                timeout.end()
            gevent.sleep(0.1)
