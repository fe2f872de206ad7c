"""The owner's policy file: what it says, what is refused in it, and what its patterns mean."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import owner, policy
from agent.config import Config
from agent.errors import BadConfig
from agent.offer import Offer
from agent.owner import Owner
from agent.policy import Policy
from agent.tools import Input, Tool, Uses, registry
from tests.agent.conftest import StartAgent
from tests.agent.fake_server import FakeServer

EXAMPLE = """\
# What this machine does for others.
[policy]
tools =
    shell
    # and, to try it out,
    noop

organisations = Lab
repositories =
    https://github.com/ada/*
commands =
    /usr/bin/make
    git status
variables = CI_*
max_minutes = 30
max_disk = 2 GB
"""
# As `create()` in offer.py would find it; only these parts are judged.
OFFER = Offer("t", "a", 1, "shell", 60.0, None, "fail", "/", {"id": "o-1", "name": "Lab"})


class Cloner(Tool):
    """Stands for what is to come: a tool that says which repositories it uses."""

    name = "shell"

    def check(self, task_input: Input) -> None:
        """Anything."""

    def uses(self, task_input: Input) -> Uses:
        return Uses(repositories=[task_input["url"]])


def write(folder: Path, text: str = EXAMPLE) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "policy.ini"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def rule(known: Policy, task_input: dict[str, Any] | None = None, **offered: Any) -> str | None:
    offer = replace(OFFER, **offered)
    return known.refusal(offer, registry().get(offer.tool), task_input)


# ---- the file


def test_the_example_says_what_it_says() -> None:
    known, run_as = owner.parse(EXAMPLE)
    assert known == Policy(
        tools=("shell", "noop"),
        organisations=("Lab",),
        repositories=("https://github.com/ada/*",),
        commands=("/usr/bin/make", "git status"),
        variables=("CI_*",),
        max_minutes=30,
        max_disk_bytes=2 * 10**9,
    )
    assert run_as == ""


def test_the_example_in_the_documentation_can_be_read() -> None:
    text = (Path(owner.__file__).parents[1] / "docs/agent.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("```ini\n")
    known, run_as = owner.parse(rest.partition("```")[0])
    assert known.tools
    assert known.commands
    assert run_as


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it must have one section, [policy]"),
        ("tools = shell", "it must begin with [policy]"),
        ("[police]\ntools = shell", "and has [police]"),
        ("[policy]\n[more]\n", "and has [policy], [more]"),
        ("[policy]\ntool = shell", "there is no rule 'tool': did you mean tools?"),
        ("[policy]\nRUN_AS = nobody", "did you mean run_as?"),
        ("[policy]\nxyzzy = 1", "there are tools, organisations"),
        ("[policy]\ntools", "line 2 must look like rule = value"),
        ("[policy]\ntools = a\ntools = b", "line 3 says again"),
        ("[policy]\ntools = shell, noop", "one a line"),
        ("[policy]\ncommands =\n  git\n  run_as = nobody", "run_as is indented, and so a part of commands"),
        ("[policy]\ncommands = a\x07b", "can't be printed"),
        ("[policy]\nmax_minutes = 0", "whole number from 1"),
        ("[policy]\nmax_minutes = an hour", "whole number from 1"),
        ("[policy]\nmax_disk = 5", "must look like 500 MB or 20 GB"),
        ("[policy]\nrun_as = two names", "must be one name"),
        ("[policy]\nvariables = CI", "give commands as well"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        owner.parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def refused(config: Config) -> str:
    with pytest.raises(BadConfig) as caught:
        Owner(config)
    return str(caught.value)


def test_it_is_found_in_the_storage_or_where_it_is_said_to_be(config: Config, tmp_path: Path) -> None:
    assert Owner(config).policy() == Policy()
    write(config.storage, "[policy]\ntools = noop")
    assert Owner(config).policy().tools == ("noop",)
    elsewhere = write(tmp_path / "elsewhere", "[policy]\ntools = shell")
    assert Owner(replace(config, policy=elsewhere)).policy().tools == ("shell",)
    assert "isn't there" in refused(replace(config, policy=tmp_path / "nowhere.ini"))
    (config.storage / "policy.ini").unlink()
    (config.storage / "policy.ini").symlink_to("nowhere")
    assert "can't be read" in refused(config)


def test_the_machines_own_comes_before_that_of_the_storage(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "SYSTEM", write(tmp_path / "etc", "[policy]\ntools = noop"))
    write(config.storage, "[policy]\ntools = shell")
    assert Owner(config).policy().tools == ("noop",)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_one_that_others_can_write_is_refused(config: Config, mode: int) -> None:
    path = write(config.storage)
    path.chmod(mode)
    assert f"chmod go-w {path}" in refused(config)


def test_so_is_one_in_a_folder_where_others_can_replace_it(config: Config) -> None:
    write(config.storage)
    config.storage.chmod(0o777)
    assert f"chmod go-w {config.storage}" in refused(config)
    config.storage.chmod(0o1777)  # as /tmp: there nobody takes away another's file
    assert Owner(config).policy().max_minutes == 30


def test_one_of_another_user_is_refused(config: Config) -> None:
    path = write(config.storage)
    if os.geteuid() == 0:
        os.chown(path, 65534, -1)
    else:
        path = Path("/proc/1/environ")
    assert "must belong to root or to the agent's user" in refused(replace(config, policy=path))


def test_what_is_no_text_file_is_refused(config: Config) -> None:
    path = write(config.storage)
    path.write_bytes(b"[policy]\ntools = \xff\xfe")
    assert "isn't UTF-8" in refused(config)
    path.unlink()
    path.mkdir()
    assert "can't be read" in refused(config)
    path.rmdir()
    path.write_text("#" * 300_000)
    assert "longer than" in refused(config)


def test_the_agent_does_not_start_with_one_that_is_broken(
    start_agent: StartAgent, storage: Path, server: FakeServer
) -> None:
    path = write(storage, "[policy]\ntoolz = shell")
    agent = start_agent()
    assert agent.wait() == 2
    assert agent.said == f"agent: policy file {path}: there is no rule 'toolz': did you mean tools?\n"
    assert server.registrations == []


def test_a_change_counts_from_the_next_look_on(config: Config) -> None:
    path = write(config.storage, "[policy]\ntools = noop")
    known = Owner(config)
    write(config.storage, "[policy]\ntools = shell")
    assert known.policy().tools == ("shell",)
    assert known.policy() is known.policy()
    write(config.storage, "[policy]\ntoolz = shell")
    assert (
        rule(known.policy())
        == f"its file can’t be used: policy file {path}: there is no rule 'toolz': did you mean tools?"
    )
    write(config.storage, "[policy]\n")
    assert rule(known.policy()) is None


def test_one_that_vanishes_does_not_open_the_machine(config: Config) -> None:
    path = write(config.storage)
    known = Owner(config)
    path.unlink()
    assert "is gone" in (rule(known.policy()) or "")


def test_one_that_breaks_or_vanishes_leaves_what_runs_its_limits(config: Config) -> None:
    path = write(config.storage, "[policy]\nmax_minutes = 5\nmax_disk = 2 GB")
    known = Owner(config)
    write(config.storage, "[policy]\nmax_minutes = soon")
    assert (known.policy().max_minutes, known.policy().max_disk_bytes) == (5, 2 * 10**9)
    path.unlink()
    assert (known.policy().max_minutes, known.policy().max_disk_bytes) == (5, 2 * 10**9)
    assert rule(known.policy())


# ---- what it means


def test_without_a_rule_everything_goes() -> None:
    assert rule(Policy(), {"script": "true"}) is None


def test_tools() -> None:
    assert rule(Policy(tools=("noop",))) == "the tool shell isn’t allowed"
    assert rule(Policy(tools=("shell",))) is None
    assert rule(Policy(tools=()), tool="noop") == "the tool noop isn’t allowed"


def test_organisations_by_id_or_name() -> None:
    for allowed in ("o-1", "Lab"):
        assert rule(Policy(organisations=(allowed,))) is None
    assert rule(Policy(organisations=("Other",))) == "the organisation Lab isn’t allowed"
    assert "doesn’t say whose" in (rule(Policy(organisations=("Lab",)), organisation={}) or "")


def test_commands() -> None:
    known = Policy(commands=("make", "/opt/tools/*", "git status *"))
    for argv in (["make"], ["make", "clean all"], ["/opt/tools/x", "-y"], ["git", "status", "-s"]):
        assert rule(known, {"argv": argv}) is None, argv
    for argv in (
        ["git", "status"],
        ["git", "push"],
        ["git status", "x"],
        ["git", "status x"],
        ["./make"],
        ["/tmp/make"],
        ["/opt/tools/../../tmp/evil"],
        ["Make"],
    ):
        assert "isn’t allowed" in (rule(known, {"argv": argv}) or ""), argv


def test_where_commands_are_listed_a_script_is_refused() -> None:
    assert "nobody can tell what a script does" in (rule(Policy(commands=("*",)), {"script": "make"}) or "")
    assert rule(Policy(commands=()), {}, tool="noop") is None


def test_where_commands_are_listed_variables_need_a_rule_of_their_own() -> None:
    task_input = {"argv": ["make"], "env": {"CI_JOB": "1"}}
    assert rule(Policy(commands=("make",), variables=("CI_*",)), task_input) is None
    assert (
        rule(Policy(commands=("make",)), task_input)
        == "the variable CI_JOB isn’t allowed beside certain commands"
    )
    task_input["env"] = {"LD_PRELOAD": "./evil.so"}
    assert "LD_PRELOAD" in (rule(Policy(commands=("make",), variables=("CI_*",)), task_input) or "")


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://github.com/ada/site", True),
        ("https://github.com/ada/site.git", True),
        ("https://github.com/ada/site/", True),
        ("https://github.com/ada/group/site", False),
        ("https://github.com/eve/site", False),
        ("https://github.com/ada/../eve/site", False),
        ("https://github.com/ada/..", False),
        ("https://github.com/ada/%2e%2e", False),
        ("https://github.com@evil.example/ada/site", False),
        ("https://evil.example/https://github.com/ada/site", False),
        ("http://github.com/ada/site", False),
        ("git@lab.example:ada/site.git", True),
        ("git@lab.example:eve/site.git", False),
        ("https://gitlab.example/group/sub/site", True),
        ("https://gitlab.example/group/sub/../../eve/site", False),
        ("https://gitlab.example/group", False),
        ("ext::sh -c true", False),
    ],
)
def test_repositories(url: str, is_allowed: bool) -> None:
    patterns = ("https://github.com/ada/*", "git@lab.example:ada/*", "https://gitlab.example/group/**")
    found = Policy(repositories=patterns).refusal(OFFER, Cloner(), {"url": url})
    assert (found is None) == is_allowed, found


def test_what_people_read_of_it() -> None:
    assert Policy().to_dict() == {}
    known, _ = owner.parse(EXAMPLE)
    said = known.to_dict()
    assert said.pop("digest")
    assert said == {
        "tools": ["shell", "noop"],
        "organisations": ["Lab"],
        "repositories": ["https://github.com/ada/*"],
        "commands": ["/usr/bin/make", "git status"],
        "variables": ["CI_*"],
        "max_minutes": 30,
        "max_disk_bytes": 2 * 10**9,
    }


def test_a_change_in_what_is_too_long_to_be_shown_shows_as_one() -> None:
    many = tuple(f"/bin/{number}" for number in range(300))
    one, other = Policy(commands=(*many, "a")).to_dict(), Policy(commands=(*many, "b")).to_dict()
    assert len(one["commands"]) == policy.MAX_SHOWN + 1
    assert one["commands"] == other["commands"]
    assert one != other
