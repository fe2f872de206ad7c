"""`make bench`: start a real server and a real agent, measure, write results/*.json and print a table.

Absolute figures drift on shared machines: a comparison is only good within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import clones, measure
from tests.large_repository import Shape
from tests.services import missing
from tests.stack import Stack, running_stack

RESULTS = Path(__file__).parent / "results"
SLOTS = 8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--tasks", type=int, default=400, help="tasks a rate is taken over")
    parser.add_argument("--only", default="", help="run only the measurement of this name")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine()}
    print(
        f"{figures['machine']['cores']} cores, load {figures['machine']['load_1m']} before the start",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory(prefix="gsw-bench-") as folder, started(Path(folder)) as stack:
        stack.start_agent(slots=SLOTS)
        for name, run in measurements(stack, chosen.tasks).items():
            if chosen.only in ("", name):
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                figures[name] = run()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(table(figures))
    print(f"written to {path.relative_to(Path.cwd())}", file=sys.stderr)
    return 0


def started(folder: Path) -> AbstractContextManager[Stack]:
    """Its repositories come over plain http, on loopback."""
    return running_stack(folder, git_schemes="https,ssh,http")


def measurements(stack: Stack, tasks: int) -> dict[str, Any]:
    found = {
        "idle": lambda: measure.idle(stack),
        "submit to process": lambda: measure.latency(stack, count=60),
        "shell tasks": lambda: measure.rate(stack, "shell", tasks),
        "no-op tasks": lambda: measure.rate(stack, "noop", tasks),
        "100,000 lines": lambda: measure.long_log(stack, 100_000),
        "git": lambda: clones.clones(stack, Shape(), rounds=3),
    }
    if "Chromium" not in missing():
        found["line to page"] = lambda: measure.line_to_page(stack, count=40)
    return found


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "git": git_version(),
        "system": platform.platform(),
    }


def git_version() -> str:
    return subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


def table(figures: dict[str, Any]) -> str:
    """One row a figure."""
    rows = [
        f"{name:20} {figure:34} {value}"
        for name, found in figures.items()
        if name != "machine"
        for figure, value in found.items()
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
