"""What runs beside the requests in a serving process, and how it ends."""

import threading

from flask import Flask

from webapp import failpoints, templating
from webapp.housekeeping import Housekeeper
from webapp.live import rooms
from webapp.live.bus import bus
from webapp.workers import control


def begin(app: Flask) -> None:
    """Start the loops. Not in `create_app`: a command line or a test wants none."""
    failpoints.arm(app.config["SETTINGS"].failpoint)
    templating.warm(app)
    threading.Thread(target=Housekeeper(app).run, name="housekeeping", daemon=True).start()


def stop() -> None:
    """The process was told to stop: parked polls end empty, open pages are told to come back (1012)."""
    bus.stop()
    rooms.close_all()
    control.close_all()
