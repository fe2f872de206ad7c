"""`run`: the agent at work, until a signal ends it."""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
from collections.abc import Mapping

from agent import clock, config, exits, files, health, identity, lock, orphans
from agent.config import Config
from agent.enrol import enrol
from agent.errors import BadConfig, Stop
from agent.owner import Owner
from agent.server import Refused
from agent.session import Session
from agent.systemd import STOPPING, Systemd
from agent.update import Successor

log = logging.getLogger("agent")

HELP = "join if need be, then run tasks until told to stop"

CANCEL_S = 8.0
GOODBYE_S = 5.0
_LOOK_S = 0.02
_COLLECT_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    config.add_arguments(parser)


def act(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = config.load(chosen, environ)
    me = prepare(settings)
    files.raise_limit()
    systemd = Systemd(environ)
    systemd.ready()
    return _work(files.fitted(settings), me, systemd)


def prepare(settings: Config) -> identity.Identity:
    """This process holds the storage from here on. Raises BadConfig, and Stop where another agent does."""
    try:
        for directory in (settings.storage, settings.jobs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not lock.take(directory):
                raise Stop(f"another agent is using {directory}", exits.IN_USE)
        settings.roots.make()
        if not lock.take_folder(settings.roots.projects):
            raise Stop(f"another agent is using {settings.roots.projects}", exits.IN_USE)
        Owner(settings)  # a policy that can't be held to ends it here, before anybody hears that it works
        return identity.prepare(settings.storage, settings.server_url, settings.pin)
    except OSError as error:
        raise BadConfig(f"storage can't be used: {error}") from error


class Signals:
    """SIGTERM and SIGINT, counted. The handler does no more: a byte in the pipe wakes the main thread."""

    def __init__(self) -> None:
        self.count = 0
        self._reader, writer = os.pipe()
        self._woken = select.poll()
        self._woken.register(self._reader, select.POLLIN)
        os.set_blocking(writer, False)
        os.set_blocking(self._reader, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._noted)

    def _noted(self, *_: object) -> None:
        self.count += 1

    def wait(self, seconds: float) -> None:
        if self._woken.poll(1000 * seconds):
            os.read(self._reader, 512)


def _work(settings: Config, me: identity.Identity, systemd: Systemd) -> int:
    try:
        worker = me if me.is_registered else enrol(settings, me)
    except Refused as error:
        raise Stop(f"{settings.server_url} refuses to enrol this agent: {error}", exits.REFUSED) from error
    except KeyboardInterrupt:
        return exits.DONE
    orphans.become_subreaper()
    signals = Signals()
    session = Session(settings, worker)
    systemd.watch(session.loop.progress)
    if settings.http:
        health.serve(*settings.http, session.loop.progress, lambda: session.diary.latest)
    session.start()
    successor = Successor()
    while not signals.count and not successor.is_due(is_idle=session.is_idle):
        signals.wait(_COLLECT_S)
        orphans.collect()
    if signals.count:
        systemd.tell(STOPPING)  # not for a successor: it is the same process to systemd
    _wind_down(session, signals, settings.drain_s)
    if not signals.count:
        files.give_back()
        successor.start()
    return exits.DONE


def _wind_down(session: Session, signals: Signals, drain_s: float) -> None:
    """First signal: let what runs finish for a while, then leave it running. Second: cancel it."""
    session.drain()
    if not session.is_idle:
        log.info(
            "stopping: running tasks have %s s, then go on without the agent (again: cancel them)", drain_s
        )
    _wait(session, signals, drain_s, until_count=2)
    if signals.count >= 2 and not session.is_idle:
        log.info("cancelling")
        session.cancel_all()
        _wait(session, signals, CANCEL_S, until_count=3)
    if session.is_idle:
        session.part(GOODBYE_S)
    session.end()


def _wait(session: Session, signals: Signals, seconds: float, until_count: int) -> None:
    until = clock.now() + seconds
    while not session.is_idle and signals.count < until_count and clock.now() < until:
        signals.wait(_LOOK_S)
