"""The instance folder: made on the first start, held by one server at a time."""

import fcntl
import os
from pathlib import Path
from typing import IO

from webapp.config import Settings, SettingsError


def prepare(settings: Settings) -> str:
    """Make the folder and its keys when they aren't there. Returns the cookie key."""
    from webapp import security  # gunicorn's master imports this file, and shouldn't load cryptography for it

    folder = settings.instance_path
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "logs").mkdir(mode=0o700, exist_ok=True)
        security.ensure_keys(folder)
        return (folder / "secret_key").read_text()
    except OSError as error:
        raise SettingsError(
            f"The instance folder {folder} can't be used: {error.strerror}. Set GSW_INSTANCE_PATH to a writable one."
        ) from error


def hold(folder: Path) -> IO[str]:
    """Keep a second server out of this folder for as long as the returned file is open."""
    file = (folder / "server.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise SettingsError(
            f"Another server (process {holder}) runs on {folder}. "
            "Stop it, or set GSW_INSTANCE_PATH to another folder."
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
