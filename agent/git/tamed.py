"""A checkout’s own settings, which a task may have written: the programs that they name are not run by us.

A person’s own git in the checkout goes by them as ever: nothing is changed there, our calls overrule it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.git.failures import Failed, cleaned

# Keys as git lists them. What stands in runs.SETTINGS is overruled there, and no command of ours shows differences,
# merges, signs or opens an editor.
_FILTER = re.compile(r"filter\.(.+)\.(?:clean|smudge|process|required)", re.DOTALL)
_UPLOAD = re.compile(r"remote\..+\.uploadpack", re.DOTALL)
# Nothing that could stand there instead is harmless.
_REFUSED = re.compile(r"lfs\.extension\..+|remote\..+\.vcs", re.DOTALL)


def overruled(keys: Iterable[str]) -> list[str]:
    """Settings, for `-c`, that make those with these keys harmless. Raises Failed where that can't be."""
    said: dict[str, str] = {}
    for key in keys:
        if found := _FILTER.fullmatch(key):
            driver = f"filter.{found[1]}"
            said |= {f"{driver}.{what}": "" for what in ("clean", "smudge", "process")}
            said[f"{driver}.required"] = "false"
        elif key == "core.alternaterefscommand":
            said[key] = "true"
        elif _UPLOAD.fullmatch(key):
            said[key] = "git-upload-pack"
        elif _REFUSED.fullmatch(key):
            raise _refusal(key)
    for key in said:
        if "=" in key or "\n" in key:  # which would begin the value, or another setting
            raise _refusal(key)
    return [f"{key}={value}" for key, value in said.items()]


def _refusal(key: str) -> Failed:
    return Failed(
        f"the checkout’s own git settings would run programs ({cleaned(key, 100)}): remove that setting "
        "from its .git/config, or delete the checkout and clone it again"
    )
