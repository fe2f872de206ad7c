"""agent.pyz: what is in it, that the same sources give the same bytes, and how it is given away."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import sys
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest

import agent
from tests.world import World, problem
from webapp.config import REPOSITORY
from webapp.workers import archive, release

on_sqlite = pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
IMPORTED_IF_THERE = {"psutil"}


@pytest.fixture(scope="module")
def packed() -> bytes:
    return archive.pack(REPOSITORY)


def names(packed: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def needs(package: str) -> set[str]:
    """What a package pulls in without extras."""
    wanted = [row for row in metadata.requires(package) or [] if "extra ==" not in row]
    direct = {re.split(r"[ <>=!~;(\[]", row, maxsplit=1)[0].lower().replace("_", "-") for row in wanted}
    return {package} | {name for each in direct for name in needs(each)}


def test_two_builds_have_the_same_checksum(packed: bytes) -> None:
    assert hashlib.sha256(archive.pack(REPOSITORY)).digest() == hashlib.sha256(packed).digest()


def test_neither_times_nor_modes_of_files_count(packed: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        facts = {(entry.date_time, entry.external_attr, entry.create_system) for entry in opened.infolist()}
    assert facts == {((1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3)}
    assert names(packed) == sorted(names(packed))


def test_another_source_has_another_checksum(packed: bytes, tmp_path: Path) -> None:
    for path in (REPOSITORY / "agent").rglob("*.py"):
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert archive.pack(tmp_path) == packed
    with (tmp_path / "agent" / "clock.py").open("a") as file:
        file.write("# changed\n")
    assert archive.pack(tmp_path) != packed


def test_all_of_the_agent_is_in_it(packed: bytes) -> None:
    sources = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "agent").rglob("*.py")}
    assert sources - set(names(packed)) == {archive.ENTRY}
    assert "__main__.py" in names(packed)


def test_what_the_agent_needs_is_in_it_and_nothing_else() -> None:
    assert needs("requests") | needs("websockets") == set(archive.PACKAGES)


def test_whatever_the_agent_imports_is_in_it_or_comes_with_python(packed: bytes) -> None:
    there = {PurePosixPath(name).parts[0].removesuffix(".py") for name in names(packed)}
    for path in (REPOSITORY / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += (
                [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            )
            for name in found:
                assert name.split(".")[0] in there | sys.stdlib_module_names | IMPORTED_IF_THERE, path


def test_nothing_compiled_is_in_it_but_each_licence_is(packed: bytes) -> None:
    kinds = {PurePosixPath(name).suffix for name in names(packed) if ".dist-info/" not in name}
    assert kinds == {".py", ".pem"}
    for package in archive.PACKAGES:
        folder = f"{package.replace('-', '_')}-{metadata.version(package)}.dist-info/"
        assert any(name.startswith(folder) for name in names(packed)), package


def test_a_package_that_isnt_installed_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PACKAGES", ("no-such-package",))
    with pytest.raises(archive.NoArchive, match="no-such-package"):
        archive.pack(REPOSITORY)


# ---- given away


@on_sqlite
def test_the_file_is_what_the_release_says(world: World) -> None:
    client = world.app.test_client()
    said = client.get("/api/v1/agents/release").json
    answer = client.get(said["url"])
    assert (said["version"], said["protocol"]) == (agent.__version__, agent.PROTOCOL)
    assert hashlib.sha256(answer.data).hexdigest() == said["sha256"]
    assert len(answer.data) == said["size"] == answer.content_length
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.data == client.get("/agent.pyz").data


@on_sqlite
def test_without_a_checksum_the_file_may_be_kept_as_long_as_it_is_the_same(world: World) -> None:
    client = world.app.test_client()
    answer = client.get("/agent.pyz")
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get("/agent.pyz", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    head = client.head("/agent.pyz")
    assert (head.status_code, head.content_length, head.data) == (200, len(answer.data), b"")
    part = client.get("/agent.pyz", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.data) == (206, answer.data[100:200])


@on_sqlite
def test_a_file_that_this_server_doesnt_have_isnt_replaced_by_another_one(world: World) -> None:
    answer = world.app.test_client().get(
        f"/agent.pyz?sha256={'0' * 64}", headers={"Accept": "application/json"}
    )
    assert answer.status_code == 404
    assert b"another agent by now" in answer.data


@on_sqlite
def test_it_is_made_once_and_again_where_its_file_has_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    pack = archive.pack
    monkeypatch.setattr(archive, "pack", lambda repository: made.append(repository) or pack(repository))
    client = world.app.test_client()
    first = client.get("/agent.pyz").data
    assert client.get("/agent.pyz").data == first
    assert len(made) == 1
    with world.app.app_context():
        path = release.current().path
        assert path.is_relative_to(world.app.instance_path)
        path.unlink()
    (path.parent / "agent-0123456789abcdef.pyz").write_bytes(b"of an earlier server")
    assert client.get("/agent.pyz").data == first
    assert len(made) == 2
    assert list(path.parent.iterdir()) == [path]


@on_sqlite
def test_a_server_that_cant_make_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PACKAGES", ("no-such-package",))
    answer = world.app.test_client().get("/api/v1/agents/release")
    assert "isn't installed" in problem(answer, 503, "no-archive")["detail"]
