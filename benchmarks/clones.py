"""How long a large repository takes: plain `git clone`, the agent’s git program, and the whole way from the request."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from agent import git
from benchmarks.measure import timed
from tests.git.http_remote import HttpRemote
from tests.git.repositories import ENVIRONMENT
from tests.large_repository import Shape, build
from tests.stack import Stack, eventually

LONGEST_S = 600
# Each against `git clone` in the same round.
WAYS = ("first, agent’s git", "second, agent’s git", "first, whole way", "second, whole way")


def clones(stack: Stack, shape: Shape, rounds: int) -> dict[str, Any]:
    """Medians over rounds; in each all ways come one after the other, so that a busy minute hurts them alike."""
    took: dict[str, list[float]] = defaultdict(list)
    forge = stack.folder / "forge"
    forge.mkdir()
    build(forge / "large.git", shape)
    try:
        with HttpRemote(forge) as remote:
            for number in range(rounds):
                for name, seconds in _one_round(stack, remote, number).items():
                    took[name].append(seconds)
    finally:
        shutil.rmtree(forge)
    return {"files": shape.files, "MB": shape.size // 1_000_000, "rounds": rounds, **_figures(took)}


def _figures(took: dict[str, list[float]]) -> dict[str, Any]:
    figures = {f"seconds, {name}": round(statistics.median(seconds), 1) for name, seconds in took.items()}
    for way in WAYS:
        shares = [ours / plain for ours, plain in zip(took[way], took["git clone"], strict=True)]
        figures[f"× git clone, {way}"] = round(statistics.median(shares), 2)
    return figures


def _one_round(stack: Stack, remote: HttpRemote, number: int) -> dict[str, float]:
    """Each way has an address of its own, so that its first clone finds no mirror; and all start with a quiet disk."""
    urls = []
    for way in ("plain", "agent", "whole"):
        name = f"{way}-{number}.git"
        (remote.folder / name).symlink_to("large.git")
        urls.append(remote.url(name))
    plain, agents, whole = urls
    return {
        "git clone": _plain(stack.folder / "plain", plain),
        **_agents_git(stack.folder / "direct", agents),
        **_whole_way(stack, whole),
    }


def _timed(run: Any) -> float:
    os.sync()
    seconds = timed(run)
    print(f"  {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _plain(target: Path, url: str) -> float:
    command = ["git", "clone", "--quiet", url, str(target)]
    seconds = _timed(lambda: subprocess.run(command, env=ENVIRONMENT, check=True))
    shutil.rmtree(target)
    return seconds


def _agents_git(folder: Path, url: str) -> dict[str, float]:
    found = {name: _timed(lambda name=name: _run(folder, url, name)) for name in ("first", "second")}
    shutil.rmtree(folder)
    return {f"{name}, agent’s git": seconds for name, seconds in found.items()}


def _run(folder: Path, url: str, name: str) -> None:
    roots = {root: folder / root for root in ("projects", "mirrors", name)}
    for root in roots.values():
        root.mkdir(parents=True, exist_ok=True)
    wish = {
        "operation": "clone",
        "url": url,
        "schemes": ["http"],
        "attempt_id": name,
        "path": f"bench_{name}",
        "projects": str(roots["projects"]),
        "mirrors": str(roots["mirrors"]),
        "search": os.environ["PATH"],
    }
    command = git.prepare(roots[name], wish)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=LONGEST_S)


def _whole_way(stack: Stack, url: str) -> dict[str, float]:
    worker_id = stack.worker("agent-1")["id"]
    found = {
        name: _timed(lambda name=name: _clone(stack, url, name, worker_id)) for name in ("first", "second")
    }
    for project in stack.api("GET", "/projects").json()["items"]:
        stack.api("DELETE", f"/projects/{project['id']}?force=true").raise_for_status()
    eventually(
        lambda: not stack.api("GET", "/projects").json()["items"], LONGEST_S, "the projects to be gone"
    )
    for mirror in (stack.folder / "agent-1" / "mirrors").glob("*.git"):
        shutil.rmtree(mirror)
    return {f"{name}, whole way": seconds for name, seconds in found.items()}


def _clone(stack: Stack, url: str, name: str, worker_id: str) -> None:
    """From the request until the checkout is said to be there."""
    body = {"name": name, "git_url": url, "worker_id": worker_id}
    answer = stack.api("POST", "/projects/clone", json=body)
    answer.raise_for_status()
    stack.ended(answer.json()["task_id"], LONGEST_S)
    status = stack.api("GET", f"/projects/{answer.json()['project_id']}/status").json()
    if status["status"] != "active":
        raise RuntimeError(f"the clone came to nothing: {status}")
