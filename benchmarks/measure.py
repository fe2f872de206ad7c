"""What is measured, each as {figure: value} with its unit in the name."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests
from playwright.sync_api import Page, sync_playwright

from tests import services
from tests.stack import Stack, eventually

SUBMITTERS = 4
IDLE_SECONDS = 20


def latency(stack: Stack, count: int) -> dict[str, Any]:
    """From the POST to the first line that the task's own process writes: a mark with its own clock, in a file."""
    marks = stack.folder / "marks"
    marks.mkdir(exist_ok=True)
    took = []
    for number in range(count + 5):
        mark = marks / str(number)
        began = time.time()
        stack.submit(f"date +%s.%N > {mark}.new && mv {mark}.new {mark}")
        eventually(mark.exists)
        took.append((float(mark.read_text()) - began) * 1000)
        time.sleep(0.05)
    return percentiles(took[5:], "ms")


def percentiles(values: list[float], unit: str) -> dict[str, Any]:
    ordered = sorted(values)
    return {
        f"p50 {unit}": round(statistics.median(ordered), 1),
        f"p95 {unit}": round(ordered[int(len(ordered) * 0.95) - 1], 1),
        "samples": len(ordered),
    }


def rate(stack: Stack, tool: str, count: int) -> dict[str, Any]:
    """Tasks a second from the first POST until the last one has ended, submitted by a few clients at once."""
    rounds = [_one_rate(stack, tool, count) for _ in range(3)]
    best = {"a second, median": round(statistics.median(rounds), 1), "a second, best": round(max(rounds), 1)}
    if tool == "shell":
        best["a second, bare sh -c loop"] = round(_bare_loop(count), 1)
    return {**best, "tasks a round": count}


def _one_rate(stack: Stack, tool: str, count: int) -> float:
    body = {"tool": tool, "input": {"script": "true"} if tool == "shell" else {}}
    began = time.monotonic()

    def submit(share: int) -> None:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {stack.token}"
        for _ in range(share):
            session.post(f"{stack.url}/api/v1/tasks", json=body, timeout=60).raise_for_status()

    clients = [threading.Thread(target=submit, args=(count // SUBMITTERS,)) for _ in range(SUBMITTERS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    eventually(lambda: not _unfinished(stack), 300)
    return count / (time.monotonic() - began)


def _unfinished(stack: Stack) -> bool:
    statuses = ("queued", "assigned", "running")
    return any(stack.api("GET", f"/tasks?limit=1&status={status}").json()["items"] for status in statuses)


def _bare_loop(count: int) -> float:
    began = time.monotonic()
    for _ in range(count):
        subprocess.run(["sh", "-c", "true"], check=True)
    return count / (time.monotonic() - began)


def long_log(stack: Stack, lines: int) -> dict[str, Any]:
    """A job that prints, against the same command alone with its output in a file; and whether every byte is there."""
    script = f"seq -f 'line %g of a job that prints a lot, as builds do' 1 {lines}"
    plain = stack.folder / "plain"
    bare = timed(lambda: subprocess.run(["sh", "-c", f"{script} > {plain}"], check=True))
    began = time.monotonic()
    task = stack.ended(stack.submit(script), 120)
    whole = time.monotonic() - began
    return {
        "seconds": round(whole, 2),
        "seconds, bare command": round(bare, 2),
        "bytes": task["attempts"][0]["log_size"],
        "every byte kept": stack.log(task["id"]) == plain.read_bytes(),
    }


def timed(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


def idle(stack: Stack) -> dict[str, Any]:
    """Proportional memory and processor share of server and agent with nothing to do."""
    roots = [process for process in (stack.server, *stack.agents) if process]
    members = [member for root in roots for member in family(root.pid)]
    time.sleep(3)
    before = sum(cpu(member) for member in members)
    time.sleep(IDLE_SECONDS)
    used = sum(cpu(member) for member in members) - before
    memory = sum(pss(member.pid) for member in members)
    return {
        "PSS MB": round(memory / 1e6, 1),
        "percent of a core": round(used / IDLE_SECONDS * 100, 2),
        "processes": len(members),
    }


def family(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def line_to_page(stack: Stack, count: int) -> dict[str, Any]:
    """From a task printing the time until that line stands in an open page."""
    script = f"for i in $(seq 1 {count + 5}); do echo mark $(date +%s%3N); sleep 0.7; done"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**services.chromium_options())
        try:
            page = browser.new_page()
            sign_in(page, stack)
            page.add_init_script(_OBSERVER)
            task_id = stack.submit(script)
            page.goto(f"{stack.url}/tasks/{task_id}")
            stack.ended(task_id, 120)
            page.wait_for_timeout(1000)
            took: list[float] = page.evaluate("window.gswSeen")
        finally:
            browser.close()
    return percentiles(took[3:], "ms")


# The page's own clock is this machine's clock, as is the task's.
_OBSERVER = """
window.gswSeen = [];
new MutationObserver((changes) => {
  for (const change of changes) for (const node of change.addedNodes) {
    const lines = node.nodeType === 1 ? (node.matches(".ln") ? [node] : [...node.querySelectorAll(".ln")]) : [];
    for (const line of lines) {
      const found = line.textContent.match(/mark (\\d{13})/);
      if (found) window.gswSeen.push(Date.now() - Number(found[1]));
    }
  }
}).observe(document, {childList: true, subtree: true});
"""


def sign_in(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/login")
    page.fill("[name=name]", "admin")
    page.fill("[name=password]", stack.password)
    page.click("button[type=submit]")
    page.wait_for_url(f"{stack.url}/")
