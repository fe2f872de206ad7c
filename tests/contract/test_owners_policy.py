"""What a machine's owner doesn't allow is given back, tried elsewhere, and people learn whose rule it was."""

from __future__ import annotations

from pathlib import Path

from tests.stack import Stack, eventually

LABELS = {"policy": "contract"}


def write_policy(stack: Stack, agent: str, rules: str) -> None:
    storage: Path = stack.folder / agent
    storage.mkdir(mode=0o700, exist_ok=True)
    path = storage / "policy.ini"
    path.write_text(f"[policy]\n{rules}\n", encoding="utf-8")
    path.chmod(0o600)


def reasons(stack: Stack, task_id: str) -> dict[str, str]:
    return {row["worker"]: row["reason"] for row in stack.task(task_id)["waiting"]}


def test_it_runs_elsewhere_as_the_first_attempt_and_here_once_it_is_allowed(stack: Stack) -> None:
    write_policy(stack, "strict", "tools = shell\ncommands = true\norganisations = Default\nmax_minutes = 5")
    stack.start_agent("strict", labels="policy=contract")
    task_id = stack.submit("echo ran", labels=LABELS, max_retries=0)
    rule = "Its owner’s policy: only certain commands are allowed, and nobody can tell what a script does"
    eventually(lambda: reasons(stack, task_id).get("strict") == rule, what="the reason")
    answer = stack.api(
        "POST", "/tasks", json={"tool": "shell", "input": {"argv": ["true"]}, "labels": LABELS}
    )
    assert stack.ended(answer.json()["id"])["status"] == "completed", "what is allowed runs meanwhile"
    assert stack.task(task_id)["status"] == "queued"
    stack.start_agent("lenient", labels="policy=contract")
    task = stack.ended(task_id)
    assert (task["status"], task["attempts_made"]) == ("completed", 1)
    assert [(each["number"], each["worker"]) for each in task["attempts"]] == [(1, "lenient")]
    assert stack.log(task_id) == b"ran\n"
    alone = stack.submit("echo later", worker_id=stack.worker("strict")["id"])
    eventually(lambda: reasons(stack, alone).get("strict") == rule, what="the reason")
    write_policy(stack, "strict", "tools = shell")
    assert stack.ended(alone)["status"] == "completed", "its owner has thought better of it"


def test_a_tool_that_is_not_allowed_is_never_offered_and_said_to_be_forbidden(stack: Stack) -> None:
    write_policy(stack, "noop-only", "tools = noop")
    stack.start_agent("noop-only", labels="policy=tools")
    task_id = stack.submit("true", labels={"policy": "tools"})
    forbidden = "Its tool shell doesn’t work: the owner of this machine doesn’t allow it"
    eventually(lambda: reasons(stack, task_id).get("noop-only") == forbidden, what="the reason")
    allowed = stack.submit(tool="noop", input={}, labels={"policy": "tools"})
    assert stack.ended(allowed)["status"] == "completed"
    stack.api("POST", f"/tasks/{task_id}/cancel")
