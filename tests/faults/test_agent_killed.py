"""Tasks that take their agent with them, and a wall clock that jumps under one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.conftest import NewGarage
from tests.faults.garage import SHORT, Garage
from tests.stack import Process

# The wrapper's parent is the agent. With all three gone nobody is left to write an exit code: as when the machine dies.
KILL_ALL = """
agent=$(cut -d' ' -f4 /proc/$PPID/stat)
kill -KILL $agent $PPID $$
"""
# Python runs this at its start. The agent's wall clock is wrong by as many seconds as the file says.
JUMPING_CLOCK = """
import pathlib, time
_time, _time_ns = time.time, time.time_ns
_shift, _seen = pathlib.Path({shift!r}), pathlib.Path({seen!r})
def _by():
    text = _shift.read_text() if _shift.exists() else ""
    if text:
        _seen.with_name(_seen.name + text).touch()
    return int(text or 0)
time.time = lambda: _time() + _by()
time.time_ns = lambda: _time_ns() + _by() * 10**9
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_task_that_kills_its_agent_every_time_ends_and_the_queue_moves_on(new_garage: NewGarage) -> None:
    garage = new_garage()
    garage.start_server()
    agent = garage.start_agent(slots=1)  # one at a time: what ran beside the deadly one would be hurt with it
    wish = {"on_lost": "requeue", "max_retries": 2, "retry_delay_s": 0, "priority": 5}
    deadly = garage.submit(garage.script("deadly", KILL_ALL), **wish)
    harmless = garage.counting("harmless", n=2, pause=0)
    for _ in range(3):
        agent.process.wait(60)
        agent = garage.start_agent(join=False, slots=1)
    task = garage.ended(deadly, 60)
    assert (task["status"], len(task["attempts"]), garage.starts("deadly")) == ("failed", 3, 3)
    assert {attempt["failure_class"] for attempt in task["attempts"]} == {"agent_error"}
    garage.assert_counted(harmless, "harmless", n=2)
    assert agent.process.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_wall_clock_that_jumps_an_hour_either_way_changes_nothing(
    new_garage: NewGarage, tmp_path: Path
) -> None:
    garage = new_garage(**{**SHORT, "lease_s": 12})
    garage.start_server()
    agent = start_with_jumping_clock(garage, tmp_path)
    wish = {"on_lost": "requeue", "timeout_s": 600, "no_output_timeout_s": 300}
    task_id = garage.counting("jump", n=12, pause=0.5, **wish)
    for number, shift in enumerate((3600, -3600, 0)):
        garage.logged(task_id, b"line %d\n" % (3 * number + 2))
        (tmp_path / "shift").write_text(str(shift))
    garage.assert_counted(task_id, "jump", n=12)
    assert 6000 <= garage.task(task_id)["attempts"][0]["execution_time_ms"] < 600_000
    assert (tmp_path / "seen3600").exists(), "the agent looked at the shifted clock, if only for its log"
    assert agent.process.poll() is None


def start_with_jumping_clock(garage: Garage, folder: Path) -> Process:
    (folder / "site").mkdir()
    source = JUMPING_CLOCK.format(shift=str(folder / "shift"), seen=str(folder / "seen"))
    (folder / "site" / "sitecustomize.py").write_text(source)
    return garage.start_agent(environment={"PYTHONPATH": str(folder / "site"), "AGENT_LOG": "json"})
