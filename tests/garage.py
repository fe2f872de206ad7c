"""A garage of made-up machines over two days, always the same: what pictures of the pages show."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.tools import registry
from tests.garage_projects import FIRMWARE, HEALTH, NOTES, VISION, Placing, Wish, facts
from tests.webapp.pages.forms import press
from tests.webapp.test_throughput import ended_tasks
from tests.world import WorkerOf, World, migrate, settings_for
from webapp import clock, create_app
from webapp.database import release
from webapp.workers import vitals

NOW = datetime(2026, 3, 12, 14, 31, 7, tzinfo=UTC)
GB = 10**9
PEOPLE = (("admin", "mira"), ("operator", "jonas"), ("viewer", "ana"))
# name, labels, slots, what its processor does over a day, memory, disk: used part and size
MACHINES: tuple[tuple[str, dict[str, str], int, int, int, float, int], ...] = (
    ("attic-nas", {"os": "linux", "site": "attic", "disk": "raid"}, 2, 12, 16, 0.71, 8000),
    ("gpu-box", {"os": "linux", "gpu": "3060", "site": "study"}, 4, 64, 64, 0.38, 2000),
    ("lab-01", {"os": "linux", "python": "3.12"}, 4, 47, 32, 0.55, 1000),
    ("lab-02", {"os": "linux", "python": "3.12"}, 4, 38, 32, 0.49, 1000),
    ("old-thinkpad", {"os": "linux", "site": "kitchen"}, 1, 21, 8, 0.93, 250),
)
# What was cloned where, so many hours ago, its size, and what git found.
PROJECTS: tuple[tuple[Wish, str, float, int, dict[str, Any]], ...] = (
    (HEALTH, "old-thinkpad", 22.5, 190_400_000, {"number": 5}),
    (HEALTH, "lab-01", 20, 183_900_000, {"number": 2}),
    (
        NOTES,
        "attic-nas",
        18,
        4_120_000,
        {"number": 7, "ahead": 1, "unpushed": ["3fd20c1 Frost dates"], "unpushed_count": 1},
    ),
    (VISION, "gpu-box", 1.6, 2_410_000_000, {"number": 4, "behind": 2}),
    (VISION, "lab-02", 1.5, 2_409_000_000, {"number": 3}),
    (FIRMWARE, "lab-02", 1.4, 38_600_000, {"number": 6}),
)
STOPPED = (
    "2 files were changed there by hand: hc/settings.py and notes.txt. Commit them or throw them away on the machine, "
    "then pull again."
)
CHANGED = {"dirty": ["hc/settings.py", "notes.txt"], "dirty_count": 2}
POLICY = {
    "tools": ["shell", "git"],
    "commands": ["restic *", "zpool status", "smartctl *"],
    "max_minutes": 120,
    "run_as": "backup",
}


def tools_of(version: str) -> list[dict[str, Any]]:
    """As a real agent declares them."""
    found = {
        "shell": {"works": True, "version": version},
        "git": {"works": True, "version": "git 2.39.5"},
        "noop": {"works": True},
    }
    return [{**tool.declaration(), "found": found[tool.name]} for tool in registry().values()]


def at(moment: datetime) -> None:
    """From now on it is then, for the app and for its database."""
    clock.shift(moment - clock.now())


class Garage:
    """`ids`: what a page is of, by name. The time stands at NOW as far as the machine's own seconds allow."""

    def __init__(self, world: World) -> None:
        self.world, self.chance = world, random.Random(4)
        self.ids: dict[str, str] = {}
        self.workers: dict[str, WorkerOf] = {}
        at(NOW - timedelta(days=2))
        for role, name in PEOPLE:
            world.named(role, name)  # type: ignore[arg-type]
        self._join()
        at(NOW - timedelta(hours=24))
        self._history()
        self._live_a_day()
        self._today()
        at(NOW - timedelta(seconds=9))
        for name, _, _, *figures in MACHINES[:-1]:
            self._call(name, NOW, *figures)
        at(NOW)

    # ---- machines

    def _join(self) -> None:
        for name, labels, slots, *_ in MACHINES:
            self.workers[name] = self.world.worker(
                name,
                labels=labels,
                slots=slots,
                tools=tools_of("bash 5.2.15"),
                policy=POLICY if name == "attic-nas" else {},
                platform="Ubuntu 24.04, x86_64" if name == "gpu-box" else "Debian 12, x86_64",
            )
            self.ids[name] = self.workers[name].id

    def _live_a_day(self) -> None:
        """Vitals every ten minutes. One machine sleeps at night, and one is off since this morning."""
        for step in range(145):
            moment = NOW - timedelta(minutes=10 * (144 - step), seconds=20)
            at(moment)
            for name, _, _, load, memory, used, disk in MACHINES:
                is_asleep = name == "old-thinkpad" and (moment.hour < 7 or moment.hour >= 23 or step > 126)
                if not is_asleep:
                    self._call(name, moment, load, memory, used, disk)
            with self.world.app.app_context():
                vitals.sample()
                release()

    def _call(self, name: str, moment: datetime, load: int, memory: int, used: float, disk: int) -> None:
        is_busy = 8 <= moment.hour < 18 or moment.hour == 2
        cpu = min(100.0, max(1.0, (load if is_busy else load / 6) + self.chance.uniform(-9, 9)))
        size = disk * GB
        metrics = {
            "cpu_percent": round(cpu, 1),
            "memory_percent": round(25 + cpu / 3 + self.chance.uniform(-2, 2), 1),
            "disk_free_bytes": int(size * (1 - used)) - int(self.chance.uniform(0, 0.004) * size),
            "load_1m": round(cpu / 25, 2),
            "disk_total_bytes": size,
            "memory_total_bytes": memory * GB,
        }
        self.workers[name].sync(held=self._held(name), metrics=metrics)

    # ---- tasks

    def _history(self) -> None:
        """What ended in the week before: the charts and each machine's record. The oldest was submitted first."""
        at(NOW - timedelta(minutes=50))
        machines = [*["lab-01"] * 160, *["lab-02"] * 140, *["gpu-box"] * 60, *["attic-nas"] * 28]
        made = sorted(
            (self._ended(self.ids[name]) for name in machines), key=lambda task: -float(task["ago_s"])
        )
        ended_tasks(self.world, *made)
        at(NOW - timedelta(hours=24))

    def _ended(self, worker_id: str) -> dict[str, Any]:
        names = ("pytest -q", "make html", "ruff check .", "nightly backup", "train small")
        return {
            "ago_s": 3600 * self.chance.triangular(0.2, 150, 6),
            "took_s": self.chance.lognormvariate(4, 1),
            "status": "failed" if self.chance.random() < 0.06 else "completed",
            "name": self.chance.choice(names),
            "submitted_by": "jonas",
            "worker_id": worker_id,
        }

    def _today(self) -> None:
        at(NOW - timedelta(hours=2))
        self.admin = self.world.browser("admin")
        self._failed()
        self._completed()
        self._running()
        self._projects()
        self._waiting()
        self._people()

    def _run(self, machine: str, **wish: Any) -> dict[str, Any]:
        worker = self.workers[machine]
        task_id = self.world.queued_task(worker_id=worker.id, **wish)
        offers = worker.sync(held=self._held(machine)).json["offers"]
        return dict(next(offer for offer in offers if offer["task_id"] == task_id))

    def _held(self, name: str) -> list[str]:
        return [self.ids[key] for key in self.ids if key.startswith(f"held {name}")]

    def _failed(self) -> None:
        at(NOW - timedelta(minutes=47))
        offer = self._run("lab-02", name="pytest -q", input={"argv": ["pytest", "-q", "-n", "auto"]})
        self.workers["lab-02"].send_log(offer, TESTS)
        at(NOW - timedelta(minutes=44, seconds=12))
        said = {"failure_class": "exit_code", "exit_code": 1, "error": "exit code 1"}
        self.workers["lab-02"].report(offer, "failed", execution_time_ms=168_300, **said)
        self.ids["failed task"] = offer["task_id"]

    def _completed(self) -> None:
        at(NOW - timedelta(minutes=20))
        offer = self._run("attic-nas", name="nightly backup", input={"script": "restic backup /srv"})
        self.workers["attic-nas"].send_log(offer, BACKUP)
        at(NOW - timedelta(minutes=12, seconds=30))
        self.workers["attic-nas"].report(offer, exit_code=0, execution_time_ms=449_800)
        self.ids["completed task"] = offer["task_id"]

    def _running(self) -> None:
        for minutes, name, wish in (
            (
                14,
                "gpu-box",
                {"name": "train vision-small", "input": {"script": "python train.py --epochs 40"}},
            ),
            (
                6,
                "lab-01",
                {"name": "deploy docs", "input": {"script": "make deploy"}, "locks": ["deploy/docs"]},
            ),
            (3, "lab-01", {"name": "build 100,000 pages", "input": {"argv": ["make", "-j4", "html"]}}),
        ):
            at(NOW - timedelta(minutes=minutes, seconds=23))
            offer = self._run(name, timeout_s=7200, **wish)
            self.ids[f"held {name} {minutes}"] = offer["attempt_id"]
            self.workers[name].send_log(offer, BUILD if minutes == 3 else b"epoch 1 of 40\n")
            self.workers[name].sync(held=self._held(name))
        self.ids["running task"] = offer["task_id"]

    def _projects(self) -> None:
        """Four, in all states: fresh, old, being cloned, and in trouble on the machine that is off since this morning."""
        placing, hours = Placing(self.world), timedelta(hours=1)
        for wish, machine, ago, size, more in PROJECTS:
            at(NOW - ago * hours)
            worker, held = self.workers[machine], self._held(machine)
            worker.sync(held=held)  # it is online then
            self.ids[wish.name] = placing.clone(wish, worker)
            said, offer = facts(wish, NOW - ago * hours, size, **more), placing.begin(worker, held)
            at(NOW - ago * hours + timedelta(seconds=2 + size // 9_000_000))
            placing.end(self.ids[wish.name], worker, offer, said)
        self._pulled(placing)
        at(NOW - timedelta(minutes=2, seconds=40))
        worker = self.workers["gpu-box"]
        worker.sync(held=self._held("gpu-box"))
        placing.clone(HEALTH, worker)
        offer = placing.begin(worker, self._held("gpu-box"))
        self.ids["held gpu-box clone"] = offer["attempt_id"]
        placing.tell_progress(worker, offer, 38, "71 MB, 3.1 MB/s")

    def _pulled(self, placing: Placing) -> None:
        """One was brought up to date a moment ago, and one couldn't be."""
        for machine, minutes, number, said in (
            ("old-thinkpad", 215, 5, {"success": False, "message": STOPPED, **CHANGED}),
            ("lab-01", 9, 0, {}),
        ):
            at(NOW - timedelta(minutes=minutes))
            worker = self.workers[machine]
            worker.sync(held=self._held(machine))
            placing.pull(self.ids[HEALTH.name], worker)
            offer = placing.begin(worker, self._held(machine))
            found = facts(HEALTH, NOW - timedelta(minutes=minutes), 184_220_000, number, **said)
            at(NOW - timedelta(minutes=minutes, seconds=-3.2))
            placing.end(self.ids[HEALTH.name], worker, offer, found)

    def _waiting(self) -> None:
        at(NOW - timedelta(minutes=2))
        wish = {"input": {"script": "make deploy"}, "locks": ["deploy/docs"]}
        self.world.queued_task(name="deploy docs", labels={"python": "3.12"}, **wish)
        self.ids["waiting task"] = self.world.queued_task(name="train vision-large", labels={"gpu": "4090"})

    def _people(self) -> None:
        at(NOW - timedelta(minutes=1))
        admin = self.admin
        press(admin, "/settings/tokens", "/settings/tokens", name="ci on the forge", days="90")
        press(admin, "/workers/add", "/workers/add", name="the cellar", labels="site=cellar", life="ten")
        press(admin, f"/workers/{self.ids['lab-02']}/drain", note="New SSD at the weekend", for_s="")
        said = {"labels": {"os": "linux", "site": "cellar"}, "tools": tools_of("bash 5.2.15"), "slots": 2}
        admin.get("/settings")  # what was said about these is read
        self.ids["pending worker"] = self.world.registered(
            "cellar-pi", platform="Debian 12, aarch64", **said
        ).id

    # ---- pages

    def pages(self) -> dict[str, str]:
        """{what it is: its path}, in the order of the tour."""
        task = {name: f"/tasks/{self.ids[f'{name} task']}" for name in ("running", "failed", "waiting")}
        return {
            "dashboard": "/",
            "tasks": "/tasks",
            "task": task["running"],
            "task-search": f"{task['running']}?find=warning",
            "task-failed": task["failed"],
            "task-waiting": task["waiting"],
            "new-task": "/tasks/new",
            "locks": "/locks",
            "projects": "/projects",
            "project": f"/projects/{self.ids['healthchecks']}",
            "clone": "/projects/new",
            "workers": "/workers",
            "worker": f"/workers/{self.ids['attic-nas']}",
            "worker-pending": f"/workers/{self.ids['pending worker']}",
            "add-worker": "/workers/add",
            "api": "/api/docs",
            "account": "/settings",
            "members": "/settings/members",
            "join-tokens": "/settings/join-tokens",
            "audit": "/settings/audit",
        }


def made_garage(folder: Path) -> Garage:
    """The clock goes right again: `at(NOW)` before each look."""
    settings = settings_for(folder, registrations_per_minute=1000)
    migrate(settings)
    try:
        return Garage(World(create_app(settings)))
    finally:
        clock.reset()


def _coloured(text: str) -> bytes:
    for mark, code in (
        ("{g}", "32"),
        ("{r}", "31"),
        ("{y}", "33"),
        ("{c}", "36"),
        ("{b}", "1"),
        ("{0}", "0"),
    ):
        text = text.replace(mark, f"\x1b[{code}m")
    return text.encode()


TESTS = _coloured(
    "".join(
        f"tests/storage/test_blocks_{n:03d}.py {{g}}....................{{0}} {{c}}[{n * 60 // 90:3d}%]{{0}}\n"
        for n in range(1, 91)
    )
    + "tests/api/test_notify.py {g}.........{0}{r}F{0}{g}.......{0} {c}[ 64%]{0}\n\n"
    "{r}__________________ test_it_says_when_the_other_side_times_out __________________{0}\n"
    "tests/api/test_notify.py:118: in test_it_says_when_the_other_side_times_out\n    channel.notify(flip)\n"
    "integrations/webhook.py:64: in notify\n    self.request(method, url, timeout=(5, 10))\n"
    "{b}{r}E   AssertionError: 'Connection timed out' != 'Request timed out'{0}\n"
    "{r}E   - Connection timed out{0}\n{g}E   + Request timed out{0}\n\n{r}1 failed{0}, {g}811 passed{0} in 168.02s\n"
)
BACKUP = _coloured(
    "open repository\nlock repository\nusing parent snapshot 4f8d2a10\nscan finished in 3.118s: 184220 files\n\n"
    "Files:         212 new,   118 changed, 183890 unmodified\n"
    "Added to the repository: {b}3.061 GiB{0} (2.214 GiB stored)\n\n"
    "processed 184220 files, 612.4 GiB in 7:26\n{g}snapshot b7c91e55 saved{0}\n"
)
BUILD = _coloured(
    "".join(
        f"{{y}}warning:{{0}} pages/{n:05d}.md: heading “Set-up” is there twice\n"
        if n % 173 == 0
        else f"{{c}}[{n:5d}/100000]{{0}} pages/{n:05d}.md {{g}}ok{{0}}\n"
        for n in range(1, 8401)
    )
)
