"""Settings: what is malformed, unknown or contradictory stops the start with one line that names the setting."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from webapp import config, instance, prepare
from webapp.config import Settings, SettingsError, load


def refusal(tmp_path: Path, **environ: str) -> str:
    """The line with which this environment is refused."""
    with pytest.raises(SettingsError) as caught:
        load({"GSW_INSTANCE_PATH": str(tmp_path), **environ})
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_without_any_setting_the_defaults_hold(tmp_path: Path) -> None:
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path)})
    assert (settings.host, settings.port, settings.lease_s) == ("127.0.0.1", 8000, 120)
    assert settings.database == f"sqlite:///{tmp_path}/garageswarm.db"
    assert settings.is_sqlite


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("import os\nPORT = 9001\nHOST = '0.0.0.0'\nnote = 'not a setting'\n")
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path), "PORT": "9002"})
    assert (settings.port, settings.host, settings.lease_s) == (9002, "0.0.0.0", 120)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("WEB_CONCURRENCY", "two"),
        ("GSW_TRUSTED_PROXIES", "-1"),
        ("GSW_LEASE_S", "soon"),
        ("GSW_LEASE_S", "0"),
        ("GSW_LEASE_S", "nan"),
        ("GSW_LEASE_S", "inf"),
        ("GSW_LEASE_S", "1e30"),
        ("GSW_LOST_AFTER_S", "inf"),
        ("GSW_OFFLINE_AFTER_S", "1e300"),
        ("GSW_SYNC_WAIT_S", "26"),
        ("GSW_SYNC_WAIT_S", "-1"),
        ("GSW_PENDING_WORKERS", "0"),
        ("GSW_PENDING_HOURS", "inf"),
        ("GSW_SESSION_DAYS", "nan"),
        ("GSW_SESSION_DAYS", "1e12"),
        ("GSW_LOGIN_TRIES", "0"),
        ("GSW_REQUESTS_PER_MINUTE", "0"),
        ("GSW_STRANGER_REQUESTS_PER_MINUTE", "many"),
        ("GSW_RETENTION_LOG_DAYS", "-1"),
        ("GSW_RETENTION_TASK_DAYS", "1.5"),
        ("GSW_RETENTION_AUDIT_DAYS", "1000000"),
        ("GSW_LOG_LEVEL", "LOUD"),
        ("GSW_PUBLIC_URL", "swarm.example"),
        ("DATABASE_URL", "mysql://localhost/swarm"),
        ("GSW_FAILPOINT", "claim.sometimes"),
        ("GSW_FAILPOINT", "claim.after-commit:0"),
    ],
)
def test_a_malformed_value_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    assert refusal(tmp_path, **{name: value}).startswith(f"{name}=")


def test_a_refused_database_url_doesnt_show_its_password(tmp_path: Path) -> None:
    line = refusal(tmp_path, DATABASE_URL="mysql://swarm:hunter22@db/swarm")
    assert "DATABASE_URL" in line
    assert "hunter22" not in line


def test_an_unknown_name_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    assert refusal(tmp_path, GSW_LEASE="60") == "GSW_LEASE is not a setting. Did you mean GSW_LEASE_S?"
    assert refusal(tmp_path, GSW_QQQQQQQQ="1") == "GSW_QQQQQQQQ is not a setting."


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("LEASE = 60\n")
    assert refusal(tmp_path) == f"LEASE in {tmp_path}/config.py is not a setting. Did you mean LEASE_S?"


def test_a_value_of_the_file_is_refused_by_the_name_it_has_there(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("LEASE_S = 'soon'\n")
    assert "LEASE_S='soon'" in refusal(tmp_path)


@pytest.mark.parametrize("source", ["LEASE_S = ", "import no_such_module_here", "1/0", "raise SystemExit(3)"])
def test_a_file_that_cant_be_run_is_refused_with_its_path(tmp_path: Path, source: str) -> None:
    (tmp_path / "config.py").write_text(source)
    assert str(tmp_path / "config.py") in refusal(tmp_path)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"GSW_LEASE_S": "60"}, ["GSW_LEASE_S", "GSW_SYNC_WAIT_S"]),
        ({"GSW_OFFLINE_AFTER_S": "25"}, ["GSW_OFFLINE_AFTER_S", "GSW_SYNC_WAIT_S"]),
        ({"GSW_LOST_AFTER_S": "100"}, ["GSW_LOST_AFTER_S", "GSW_LEASE_S"]),
        ({"WEB_CONCURRENCY": "2"}, ["WEB_CONCURRENCY"]),
        ({"GSW_RETENTION_LOG_DAYS": "200"}, ["GSW_RETENTION_LOG_DAYS", "GSW_RETENTION_TASK_DAYS"]),
        ({"GSW_RETENTION_TASK_DAYS": "29"}, ["GSW_RETENTION_LOG_DAYS", "GSW_RETENTION_TASK_DAYS"]),
        ({"GSW_RETENTION_LOG_DAYS": "0"}, ["GSW_RETENTION_LOG_DAYS", "for ever", "GSW_RETENTION_TASK_DAYS"]),
    ],
)
def test_contradictions_are_refused_and_name_both_settings(
    tmp_path: Path, environ: dict[str, str], named: list[str]
) -> None:
    line = refusal(tmp_path, **environ)
    assert all(name in line for name in named), line


@pytest.mark.parametrize("given", ["postgresql://u@h/db", "postgresql+psycopg://u@h/db"])
def test_a_postgresql_url_gets_our_driver(tmp_path: Path, given: str) -> None:
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path), "DATABASE_URL": given})
    assert settings.database == "postgresql+psycopg://u@h/db"
    assert not settings.is_sqlite


@pytest.mark.parametrize(("logs", "tasks"), [("30", "30"), ("7", "0"), ("0", "0")])
def test_logs_may_be_kept_as_long_as_their_tasks_or_shorter(tmp_path: Path, logs: str, tasks: str) -> None:
    environ = {"GSW_RETENTION_LOG_DAYS": logs, "GSW_RETENTION_TASK_DAYS": tasks}
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path), **environ})
    assert (settings.retention_log_days, settings.retention_task_days) == (int(logs), int(tasks))


def test_empty_variables_count_as_not_set(tmp_path: Path) -> None:
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path), "PORT": "", "DATABASE_URL": "", "HOST": ""})
    assert (settings.port, settings.host, settings.is_sqlite) == (8000, "127.0.0.1", True)


def test_a_public_url_loses_its_last_slash(tmp_path: Path) -> None:
    settings = load({"GSW_INSTANCE_PATH": str(tmp_path), "GSW_PUBLIC_URL": "https://swarm.example/"})
    assert settings.public_url == "https://swarm.example"
    assert config.flask_config(settings, "k")["SESSION_COOKIE_SECURE"] is True


def test_the_instance_folder_and_its_keys_are_made_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "instance"
    key = instance.prepare(Settings(instance_path=folder))
    assert len(key) >= 43
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in (folder / "secret_key", folder / "keys" / "k1.key"):
        assert file.stat().st_mode & 0o777 == 0o600
    assert instance.prepare(Settings(instance_path=folder)) == key


@pytest.mark.parametrize("where", ["a file", "below a file", "in proc"])
def test_an_instance_folder_that_cant_be_used_names_the_setting(tmp_path: Path, where: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    folder = {"a file": file, "below a file": file / "instance", "in proc": Path("/proc/garageswarm")}[where]
    with pytest.raises(SettingsError, match="GSW_INSTANCE_PATH"):
        instance.prepare(Settings(instance_path=folder))


def test_a_second_server_on_the_folder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib\nfrom webapp import instance\n"
            f"held = instance.hold(pathlib.Path({str(tmp_path)!r}))\nprint('held', flush=True)\nsys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match=rf"process {holder.pid}\).*GSW_INSTANCE_PATH"):
            instance.hold(tmp_path)
    finally:
        holder.communicate()
    instance.hold(tmp_path).close()


def test_a_port_in_use_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} .*Set PORT"):
            prepare._check_port(Settings(instance_path=tmp_path, port=port))
    prepare._check_port(Settings(instance_path=tmp_path, port=port))


def test_a_host_that_isnt_here_is_refused_in_one_line(tmp_path: Path) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(SettingsError, match=host):
            prepare._check_port(Settings(instance_path=tmp_path, host=host))
