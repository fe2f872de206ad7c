"""`run_as`: tasks of an agent that is root run as somebody else, and stay that."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import account, lock
from agent.commands.run import prepare
from agent.config import Config
from agent.errors import BadConfig, Stop
from agent.journal import Place
from agent.owner import Owner
from tests.agent.conftest import (
    PATIENCE_S,
    StartAgent,
    directory,
    finished,
    is_running,
    wait_for,
)
from tests.agent.fake_server import FakeAttempt, FakeServer

USER = "nobody"
# 1 to 31. The C library has its own that come after them, and leaves one ignored in whatever it spawns (`make` does).
ORDINARY_SIGNALS = 2**31 - 1

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")


@pytest.fixture
def storage() -> Iterator[Path]:
    """Where another user can get to: pytest's own folders are closed to all but this one."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "storage"
    shutil.rmtree(folder)


@pytest.fixture
def somebody() -> pwd.struct_passwd:
    return pwd.getpwnam(USER)


def said(attempt: FakeAttempt) -> str:
    report = finished(attempt).report
    assert report["status"] == "completed", (report, bytes(attempt.log))
    return attempt.log.decode()


@as_root
def test_a_task_is_that_user_in_every_way(
    server: FakeServer, start_agent: StartAgent, somebody: pwd.struct_passwd
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    script = (
        "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb|NoNewPrivs|SigIgn):' /proc/self/status; "
        'echo "$HOME $USER $LOGNAME"; touch made; stat -c "%u %g %a" . made; echo "$PWD"'
    )
    lines = said(server.submit("shell", {"script": script, "env": {"X": "y"}})).splitlines()
    facts = {name: value.split() for name, value in (line.split(":") for line in lines[:8])}
    uid, gid = str(somebody.pw_uid), str(somebody.pw_gid)
    assert facts["Uid"] == [uid] * 4
    assert facts["Gid"] == [gid] * 4
    assert facts["Groups"] == [str(group) for group in sorted(os.getgrouplist(USER, somebody.pw_gid))]
    assert {int(facts[name][0], 16) for name in ("CapPrm", "CapEff", "CapAmb")} == {0}
    assert int(facts["SigIgn"][0], 16) & ORDINARY_SIGNALS == 0
    assert facts["NoNewPrivs"] == ["1"]
    assert lines[8] == f"{somebody.pw_dir} {USER} {USER}"
    assert [line.rsplit(" ", 1)[0] for line in lines[9:11]] == [f"{uid} {gid}"] * 2
    assert lines[11].endswith("/work")


@as_root
def test_it_reaches_nothing_of_the_agents_nor_of_other_attempts(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    go = storage.parent / "go"
    other = server.submit("shell", {"script": f"echo up; while [ ! -e '{go}' ]; do sleep 0.02; done"})
    wait_for(lambda: b"up" in other.log)
    theirs = directory(storage, other).path
    paths = [storage / "identity.json", theirs / "journal.json", theirs / "output"]
    reads = "".join(f"cat '{path}' && echo READ; " for path in paths)
    script = (
        f"exec 2>/dev/null; {reads} "
        f"for folder in '{storage}' '{storage}/jobs' '{storage}/spool' '{theirs}' ..; do ls $folder && echo LISTED; done; "
        "for name in exit began output journal.json new; do echo 0 > ../$name && echo WROTE $name; done; "
        "rm -f ../journal.json && echo REMOVED; mv ../work ../other && echo MOVED; chmod 777 .. && echo OPENED; true"
    )
    log = said(server.submit("shell", {"script": script}))
    go.touch()
    assert not {"READ", "LISTED", "WROTE", "REMOVED", "MOVED", "OPENED"} & set(log.split()), log
    assert said(other) == "up\n"
    assert stat.S_IMODE(storage.stat().st_mode) == 0o701


@as_root
def test_it_does_not_come_back_to_root(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent(AGENT_RUN_AS=USER)
    code = (
        "import os\n"
        "for name, args in (('setuid', (0,)), ('setreuid', (0, 0)), ('setresuid', (0, 0, 0)), ('setgid', (0,)), "
        "('setgroups', ([0],)), ('setresgid', (0, 0, 0)), ('chroot', ('.',))):\n"
        "    try: getattr(os, name)(*args)\n"
        "    except PermissionError: continue\n"
        "    print('ROOT BY', name)\n"
        "print(os.getresuid(), os.getresgid())\n"
    )
    log = said(server.submit("shell", {"script": f"python3 - <<'E'\n{code}E\n"}))
    known = pwd.getpwnam(USER)
    assert log == f"{(known.pw_uid,) * 3} {(known.pw_gid,) * 3}\n"


@as_root
def test_it_can_neither_write_its_exit_code_nor_end_who_writes_it(
    server: FakeServer, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    script = "(echo 0 > ../exit; kill -9 $PPID; kill -9 -- -$PPID; kill -STOP $PPID) 2>/dev/null; exit 3"
    report = finished(server.submit("shell", {"argv": ["/bin/sh", "-c", script]})).report
    assert (report["status"], report.get("exit_code")) in {("failed", 3), ("failed", 137)}
    report = finished(server.submit("shell", {"script": "echo 0 > ../exit; kill -9 $PPID; exit 3"})).report
    assert report["exit_code"] == 3


@as_root
def test_nothing_that_a_task_says_reaches_what_is_still_root(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    """Or LD_PRELOAD would be a way to it."""
    start_agent(AGENT_RUN_AS=USER)
    hostile = {
        "LD_PRELOAD": "/nowhere/evil.so",
        "BASH_ENV": "/nowhere/evil.sh",
        "ENV": "/nowhere/evil.sh",
        "PYTHONPATH": ".",
        "PATH": ".:/usr/bin:/bin",
        "GARAGE_CANARY": "in the task alone",
    }
    go = storage.parent / "go"
    script = f"echo $PPID; while [ ! -e '{go}' ]; do sleep 0.02; done"
    attempt = server.submit("shell", {"script": script, "env": hostile})
    place = directory(storage, attempt)
    wait_for(lambda: place.began_pid() and place.output.exists() and place.output.stat().st_size)
    wrapper = place.began_pid()
    environ = Path(f"/proc/{wrapper}/environ").read_bytes()
    assert Path(f"/proc/{wrapper}").stat().st_uid == 0
    assert not place.launch.exists(), "what the task was given isn't left lying about"
    go.touch()
    finished(attempt)
    assert b"evil" not in environ
    assert b"CANARY" not in environ
    assert b"GARAGESWARM_ATTEMPT_ID=" in environ


@as_root
def test_a_cancel_ends_it_with_all_that_it_started(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    script = "setsid sleep 600 & echo $!; sleep 600 & echo $!; echo $$; wait"
    attempt = server.submit("shell", {"script": script})
    wait_for(lambda: attempt.log.count(b"\n") == 3)
    pids = list(map(int, attempt.log.split()))
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in pids} == {pwd.getpwnam(USER).pw_uid}
    server.cancel(attempt)
    assert finished(attempt).report["status"] == "cancelled"
    wait_for(lambda: not any(map(is_running, pids)))


@as_root
def test_its_folder_is_removed_and_nothing_that_it_points_to(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    kept = storage.parent / "kept"
    kept.mkdir(mode=0o755)
    (kept / "file").touch()
    script = f"mkdir -p a/b; touch a/b/c; chmod 500 a/b a; ln -s '{kept}' link; chmod 0 ."
    attempt = server.submit("shell", {"script": script})
    said(attempt)
    wait_for(lambda: not directory(storage, attempt).path.exists())
    assert (kept / "file").exists()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o755


@as_root
def test_an_agent_that_starts_anew_goes_on_with_it(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent(AGENT_RUN_AS=USER)
    go = storage.parent / "go"
    attempt = server.submit(
        "shell", {"script": f"echo up; while [ ! -e '{go}' ]; do sleep 0.02; done; id -un; exit 4"}
    )
    wait_for(lambda: b"up" in attempt.log)
    first.kill()
    start_agent(AGENT_RUN_AS=USER)
    go.touch()
    assert finished(attempt).report["exit_code"] == 4
    assert bytes(attempt.log) == f"up\n{USER}\n".encode()


@as_root
def test_a_command_that_it_may_not_run_says_so(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_RUN_AS=USER)
    program = storage.parent / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o700)
    attempt = server.submit("shell", {"argv": [str(program)]})
    assert finished(attempt).report["exit_code"] == 126
    assert bytes(attempt.log) == f"{program} can't be started: Permission denied\n".encode()
    program.write_text("echo ran as $USER\n")
    program.chmod(0o755)
    assert said(server.submit("shell", {"argv": [str(program)]})) == f"ran as {USER}\n"


@as_root
def test_the_policy_file_says_it_too(server: FakeServer, storage: Path, start_agent: StartAgent) -> None:
    storage.mkdir(mode=0o700)
    (storage / "policy.ini").write_text(f"[policy]\nrun_as = {USER}\n")
    (storage / "policy.ini").chmod(0o600)
    start_agent()
    assert said(server.submit("shell", {"script": "id -un"})) == f"{USER}\n"
    assert server.syncs[0]["policy"]["run_as"] == USER


# ---- where it can't be


@as_root
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("root", "root is root, or in root's group"),
        ("no-such-user", "there is no user 'no-such-user'"),
    ],
)
def test_a_user_that_makes_no_sense_stops_the_start(
    server: FakeServer, start_agent: StartAgent, name: str, reason: str
) -> None:
    agent = start_agent(AGENT_RUN_AS=name)
    assert agent.wait(PATIENCE_S) == 2
    assert reason in agent.said
    assert len(agent.said.splitlines()) == 1
    assert server.registrations == []


@as_root
def test_so_does_a_place_that_it_can_not_reach(storage: Path, start_agent: StartAgent) -> None:
    closed = storage.parent / "closed"
    closed.mkdir(mode=0o700)
    agent = start_agent(AGENT_RUN_AS=USER, AGENT_JOBS_WORKSPACE=str(closed / "jobs"))
    assert agent.wait(PATIENCE_S) == 2
    assert (
        f"{USER} can't get through {closed} to the folders of its tasks: give AGENT_JOBS_WORKSPACE"
        in agent.said
    )


@as_root
@pytest.mark.parametrize(("owner", "mode"), [(USER, 0o755), ("root", 0o777)])
def test_nor_where_its_tasks_could_lay_a_link_in_the_way_of_root(
    storage: Path, start_agent: StartAgent, owner: str, mode: int
) -> None:
    """As in the user's own home, which would be the next best place."""
    home = storage.parent / "home"
    home.mkdir()
    home.chmod(mode)
    os.chown(home, pwd.getpwnam(owner).pw_uid, -1)
    for place in (
        {"AGENT_JOBS_WORKSPACE": str(home / "jobs")},
        {"AGENT_STORAGE_PATH": str(home / "storage")},
    ):
        agent = start_agent(AGENT_RUN_AS=USER, **place)
        assert agent.wait(PATIENCE_S) == 2
        assert f"{USER} can change what is in {home}, where the agent writes as root" in agent.said


@as_root
def test_a_link_of_that_user_is_none_of_roots_ways(storage: Path, somebody: pwd.struct_passwd) -> None:
    jobs, link = storage.parent / "jobs", storage.parent / "link"
    for folder in (storage, jobs):
        folder.mkdir()
    link.symlink_to(jobs)
    account.open_way(account.find(USER), storage, link)
    os.chown(link, somebody.pw_uid, -1, follow_symlinks=False)
    with pytest.raises(BadConfig, match="link, where the agent writes as root"):
        account.open_way(account.find(USER), storage, link)


@pytest.fixture
def escaped() -> Iterator[subprocess.Popen[bytes]]:
    """A program of that user's that no agent ends: it has the folder that it is told, until its input ends."""
    script = 'read -r folder; exec flock "$folder" sh -c "echo taken; cat"'
    command, pipe = ["sh", "-c", script], subprocess.PIPE
    with subprocess.Popen(command, user=USER, group="nogroup", stdin=pipe, stdout=pipe) as process:
        yield process


@as_root
def test_a_lock_of_that_user_keeps_no_agent_from_starting_and_another_agent_does(
    server: FakeServer, config: Config, start_agent: StartAgent, escaped: subprocess.Popen[bytes]
) -> None:
    first = start_agent(AGENT_RUN_AS=USER)
    wait_for(lambda: "connected to" in first.said)
    first.kill()
    escaped.stdin.write(f"{config.roots.projects}\n".encode())
    escaped.stdin.flush()
    assert escaped.stdout.readline() == b"taken\n"
    second = start_agent(AGENT_RUN_AS=USER)
    wait_for(lambda: second.said.count("connected to") == 2 or second.process.poll() is not None)
    assert second.process.poll() is None, second.said
    other = config.storage.parent / "other"
    with pytest.raises(Stop, match=f"another agent is using {config.roots.projects}"):
        prepare(replace(config, storage=other, jobs=other / "jobs", given_roots=config.roots))


@as_root
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "file", "second name"])
def test_what_that_user_puts_in_the_place_of_the_lock_is_in_nobodys_way(
    config: Config, somebody: pwd.struct_passwd, kind: str
) -> None:
    projects = config.roots.projects
    projects.mkdir(parents=True)
    place, victim = projects / lock.FILE, config.storage / "victim"
    victim.touch()
    if kind == "link":
        place.symlink_to(config.storage / "made")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.touch()
    else:
        place.hardlink_to(victim)
    for path in (projects, place) if kind != "second name" else (projects,):
        os.chown(path, somebody.pw_uid, somebody.pw_gid, follow_symlinks=False)
    held = [os.open(path, os.O_RDONLY) for path in (projects, victim, *([place] if kind == "file" else []))]
    for handle in held:
        fcntl.flock(handle, fcntl.LOCK_EX)
    assert lock.take_folder(projects)
    assert not (config.storage / "made").exists()
    for handle in held:
        os.close(handle)


@as_root
def test_two_that_contradict_each_other_do(config: Config) -> None:
    for folder in (config.storage, config.jobs):
        folder.mkdir(mode=0o700)
    (config.storage / "policy.ini").write_text(f"[policy]\nrun_as = {USER}\n")
    (config.storage / "policy.ini").chmod(0o600)
    with pytest.raises(BadConfig, match="AGENT_RUN_AS says daemon"):
        Owner(replace(config, run_as="daemon"))


def test_an_agent_that_is_not_root_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(BadConfig, match="needs an agent that runs as root"):
        account.find(USER)


def test_who_may_pass_a_folder_is_decided_by_the_first_class_that_fits(tmp_path: Path) -> None:
    found = tmp_path.stat()
    owner, member = (
        account.Account("a", uid, 1, (gid,), "/")
        for uid, gid in ((found.st_uid, 9), (found.st_uid + 1, found.st_gid))
    )
    stranger = account.Account("c", found.st_uid + 1, 1, (found.st_gid + 1,), "/")
    for mode, may in ((0o700, "o"), (0o010, "m"), (0o001, "s"), (0o701, "os"), (0o000, ""), (0o071, "ms")):
        tmp_path.chmod(mode)
        passing = [
            name for name, one in (("o", owner), ("m", member), ("s", stranger)) if one.may_pass(tmp_path)
        ]
        assert "".join(passing) == may, oct(mode)
    tmp_path.chmod(0o700)


def test_the_place_of_an_attempt_without_it_is_as_closed_as_ever(tmp_path: Path) -> None:
    place = Place(tmp_path / "a-1")
    place.create()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (place.path, place.work)] == [0o700, 0o700]
