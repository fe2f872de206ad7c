"""The agent’s git program as the agent starts it, beside repositories on this disk."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import git as runner
from tests.git.repositories import Repository, git

LIMIT_S = 60


@dataclass
class Done:
    """How one operation went."""

    code: int
    log: str
    facts: dict[str, Any]

    @property
    def message(self) -> str:
        return str(self.facts["message"])


@dataclass
class Bench:
    """A worker’s folders, and one project `mira_app` of `remote`."""

    root: Path
    remote: Repository
    count: int = field(default=0)

    @property
    def projects(self) -> Path:
        return self.root / "projects"

    @property
    def mirrors(self) -> Path:
        return self.root / "mirrors"

    @property
    def checkout(self) -> Path:
        return self.projects / "mira_app"

    @property
    def mirror(self) -> Path:
        (found,) = self.mirrors.glob("*.git")
        return found

    @property
    def url(self) -> str:
        return f"file://{self.remote.path}"

    def git(self, *arguments: str) -> str:
        """In the checkout, as a person there does."""
        return git(*arguments, cwd=self.checkout)

    def write(self, name: str, text: str) -> None:
        (self.checkout / name).write_text(text)

    def commit(self, name: str, text: str) -> str:
        self.write(name, text)
        self.git("add", "--", name)
        self.git("commit", "--quiet", "-m", f"Mine: {name}")
        return self.git("rev-parse", "HEAD")

    def cut_off(self, before: str, after: str) -> None:
        """As a pull leaves it that was killed while it wrote files: fetched, noted, locked."""
        self.git("fetch", "--quiet")
        note = {"from": before, "to": after, "branch": "main", "is_clean": True}
        (self.checkout / ".git" / "garageswarm.json").write_text(json.dumps(note))
        (self.checkout / ".git" / "index.lock").touch()

    def begin(self, operation: str, **wish: Any) -> tuple[subprocess.Popen[bytes], Path]:
        self.count += 1
        attempt = f"attempt-{self.count}"
        folder = self.root / attempt
        wanted = {
            "operation": operation,
            "url": self.url,
            "schemes": ["file"],
            "path": "mira_app",
            "attempt_id": attempt,
            "projects": str(self.projects),
            "mirrors": str(self.mirrors),
            **wish,
        }
        argv = runner.prepare(folder, wanted)
        output = (self.root / f"{attempt}.log").open("wb")
        with output:
            return subprocess.Popen(argv, stdout=output, stderr=output, cwd=self.root), folder

    def ended(self, begun: tuple[subprocess.Popen[bytes], Path]) -> Done:
        process, folder = begun
        code = process.wait(LIMIT_S)
        facts = folder / "facts.json"
        said = json.loads(facts.read_bytes()) if facts.exists() else {}
        return Done(code, folder.with_suffix(".log").read_text(), said)

    def run(self, operation: str, **wish: Any) -> Done:
        return self.ended(self.begin(operation, **wish))

    def done(self, operation: str, **wish: Any) -> dict[str, Any]:
        """The facts of what has to go well."""
        done = self.run(operation, **wish)
        assert (done.code, done.facts.get("success")) == (0, True), done
        return done.facts

    def failed(self, operation: str, **wish: Any) -> Done:
        """What has to fail, and to say so as everything does."""
        done = self.run(operation, **wish)
        assert (done.code, done.facts["success"]) == (1, False), done
        assert done.log.splitlines()[-1] == f"Failed: {done.message}"
        return done
