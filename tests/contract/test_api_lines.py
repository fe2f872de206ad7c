"""The lines of the page about the API, pasted: a real shell, a real curl, a real server. (That every line gets the answer
that is documented is in `tests/webapp/test_openapi_examples.py`.)"""

from __future__ import annotations

import json
import os
import re
import subprocess
from html import unescape
from typing import Any

import pytest
import requests

from tests import services
from tests.stack import Stack

pytestmark = pytest.mark.slow

CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


class Reader:
    """A person who has the page open and a shell beside it."""

    def __init__(self, stack: Stack) -> None:
        services.need("curl")
        self.stack, self.http = stack, stack.client()
        found = CSRF.search(self.get("/login").text)
        assert found
        form = {"csrf_token": found[1], "name": "admin", "password": stack.password}
        self.http.post(f"{stack.url}/login", data=form, timeout=40)

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.stack.url + path, timeout=40)

    def look(self, group: str) -> dict[str, str]:
        """{id: what stands there to paste}"""
        page = self.get(f"/api/docs?about={group}").text
        found = re.findall(r'<code id="(setting|curl-\w+)">(.*?)</code>', page, re.DOTALL)
        return {name.removeprefix("curl-"): unescape(text) for name, text in found}

    def paste(self, shown: dict[str, str], name: str) -> Any:
        setting = shown["setting"].replace("gst_…", self.stack.token)
        done = subprocess.run(
            ["sh", "-c", f"{setting}\n{shown[name]} --silent --show-error --fail-with-body"],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{shown[name]}\n{done.stderr}{done.stdout}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_a_task_is_made_looked_at_cancelled_and_run_again_by_pasting(stack: Stack) -> None:
    reader = Reader(stack)
    made = reader.paste(reader.look("tasks"), "tasks_api_submit")
    shown = reader.look("tasks")
    assert f"TASK_ID={made['id']}" in shown["setting"], "the page names the newest task"
    assert reader.paste(shown, "tasks_api_show")["name"] == "tests"
    assert reader.paste(shown, "tasks_api_list_events")["items"][0]["type"] == "task_queued"
    assert reader.paste(shown, "tasks_api_log") == ""
    assert [tool["name"] for tool in reader.paste(shown, "tasks_api_list_tools")["items"]]
    assert reader.paste(shown, "tasks_api_cancel")["status"] == "cancelled"
    again = reader.paste(shown, "tasks_api_retry")
    assert (again["retry_of"], again["input"]) == (made["id"], {"script": "make -j1 test"})
    assert isinstance(reader.paste(shown, "tasks_api_list_tasks")["items"], list)
    stack.api("POST", f"/tasks/{again['id']}/cancel")


def test_a_worker_is_looked_at_changed_and_drained_by_pasting(stack: Stack) -> None:
    reader = Reader(stack)
    shown = reader.look("workers")
    worker = reader.paste(shown, "workers_api_show")
    assert worker["id"] == stack.worker("agent-1")["id"]
    assert reader.paste(shown, "workers_api_list_workers")["items"]
    assert reader.paste(shown, "workers_api_drain")["shown_status"] in {"draining", "busy"}
    assert reader.paste(shown, "workers_api_resume")["drain_requested_at"] is None
    assert reader.paste(shown, "workers_api_change")["labels"]["site"] == "attic"
    stack.api("PATCH", f"/workers/{worker['id']}", json={"name": "agent-1", "labels": {}, "slots": None})


def test_what_is_typed_wrongly_says_what_to_do(stack: Stack) -> None:
    reader = Reader(stack)
    shown = reader.look("tasks")
    as_a_form = shown["tasks_api_submit"].replace("-H 'Content-Type: application/json' ", "")
    with pytest.raises(AssertionError, match="send Content-Type: application/json"):
        reader.paste({**shown, "as_a_form": as_a_form}, "as_a_form")
