"""The agent's program as a person starts it, for one command that ends by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT


def agent(
    storage: Path, *words: str, said: str | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """One command of the agent, to its end."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AGENT_")}
    return subprocess.run(
        [sys.executable, "-m", "agent", *words, "--storage", str(storage)],
        cwd=ROOT,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        input=said or "",
    )
