"""Settings: defaults < `instance/config.py` < the environment (`GSW_*`, `DATABASE_URL`, `HOST`, `PORT`).

What is malformed, unknown or contradictory stops the start with one line that names the setting.
"""

import difflib
import os
import runpy
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from webapp import failpoints
from webapp.projects.rules import SCHEMES, USUAL_SCHEMES

REPOSITORY = Path(__file__).resolve().parent.parent
# Settings that are usual names elsewhere and therefore carry no prefix.
PLAIN_NAMES = {
    "DATABASE_URL": "database_url",
    "HOST": "host",
    "PORT": "port",
    "TLS": "tls",
    "TLS_CERT": "tls_cert",
    "TLS_KEY": "tls_key",
    "WEB_CONCURRENCY": "web_concurrency",
}
DAY_S = 24 * 3600
DAYS_LONGEST = 36_500


class SettingsError(Exception):
    """One line for the person who starts the server."""


class Settings(BaseModel):
    """Every setting, its default and its limits. In the environment: `GSW_` and the name in capitals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance_path: Path = REPOSITORY / "instance"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    # "self": https with a certificate of our own making. Or the person's own files. Neither: plain http.
    tls: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    database_url: str = ""
    public_url: str | None = None
    trusted_proxies: int = Field(0, ge=0, le=5)
    web_concurrency: int = Field(1, ge=1, le=64)
    log_level: str = "INFO"

    lease_s: float = Field(120, gt=0, le=DAY_S)
    sync_wait_s: float = Field(25, gt=0, le=25)
    offline_after_s: float = Field(45, gt=0, le=DAY_S)
    lost_after_s: float = Field(600, gt=0, le=30 * DAY_S)
    # Days after a worker was seen last; 0 never.
    archive_after_days: int = Field(30, ge=0, le=DAYS_LONGEST)
    # Days after which a worker's key is called old; 0 never.
    key_reminder_days: int = Field(90, ge=0, le=DAYS_LONGEST)
    pending_workers: int = Field(100, ge=1)
    pending_hours: float = Field(24, gt=0, le=365 * 24)

    session_days: float = Field(30, gt=0, le=3650)
    login_tries: int = Field(10, ge=1)
    login_tries_per_address: int = Field(20, ge=1)
    registrations_per_minute: int = Field(30, ge=1)
    requests_per_minute: int = Field(1200, ge=1)
    stranger_requests_per_minute: int = Field(300, ge=1)
    sockets: int = Field(2000, ge=1)
    sockets_per_user: int = Field(20, ge=1)
    agent_sockets: int = Field(2000, ge=1)
    control_silence_s: float = Field(60, gt=0, le=3600)

    # What is kept of an attempt's log; agents leave out the middle of a longer one before it comes to that.
    log_bytes: int = Field(110 * 1024 * 1024, ge=1024)

    # What a project's URL may begin with, by commas.
    git_schemes: str = ",".join(USUAL_SCHEMES)

    # Days after the end; 0 keeps for ever.
    retention_log_days: int = Field(30, ge=0, le=DAYS_LONGEST)
    retention_task_days: int = Field(180, ge=0, le=DAYS_LONGEST)
    retention_audit_days: int = Field(365, ge=0, le=DAYS_LONGEST)

    # For tests alone: where the server kills itself.
    failpoint: str = ""

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://", "postgresql://")):
            raise ValueError("must start with sqlite:/// or postgresql+psycopg://")
        return value.replace("postgresql://", "postgresql+psycopg://", 1)

    @field_validator("tls")
    @classmethod
    def _known_tls(cls, value: str) -> str:
        if value not in ("", "self"):
            raise ValueError(
                "must be self, for a certificate that the server makes; for your own give TLS_CERT and TLS_KEY"
            )
        return value

    @field_validator("tls_cert", "tls_key")
    @classmethod
    def _whole_path(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else None

    @field_validator("public_url")
    @classmethod
    def _an_origin(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("git_schemes")
    @classmethod
    def _known_schemes(cls, value: str) -> str:
        said = [word.strip().lower() for word in value.split(",") if word.strip()]
        unknown = [word for word in said if word not in SCHEMES]
        if unknown or not said:
            raise ValueError(
                f"must be some of {','.join(SCHEMES)}, with commas between; ext and others run programs"
            )
        return ",".join(dict.fromkeys(said))

    @field_validator("failpoint")
    @classmethod
    def _known_failpoint(cls, value: str) -> str:
        return failpoints.checked(value)

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.lease_s < 4 * self.sync_wait_s:
            raise ValueError(
                f"GSW_LEASE_S ({self.lease_s:g}) must be at least four times GSW_SYNC_WAIT_S ({self.sync_wait_s:g}), "
                "or one lost renewal would lose a task"
            )
        if self.offline_after_s <= self.sync_wait_s:
            raise ValueError(
                "GSW_OFFLINE_AFTER_S must be more than GSW_SYNC_WAIT_S, or every waiting worker looks offline"
            )
        if self.lost_after_s < self.lease_s:
            raise ValueError(
                f"GSW_LOST_AFTER_S ({self.lost_after_s:g}) must be at least GSW_LEASE_S ({self.lease_s:g}), "
                "or a task would be lost while its lease still runs"
            )
        if self.web_concurrency > 1:
            raise ValueError("WEB_CONCURRENCY must be 1: wake-ups and presence live in one process so far")
        self._refuse_logs_without_tasks()
        self._refuse_half_a_certificate()
        return self

    def _refuse_half_a_certificate(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            given, missing = ("TLS_CERT", "TLS_KEY") if self.tls_cert else ("TLS_KEY", "TLS_CERT")
            raise ValueError(f"{given} needs {missing}: the certificate and its key, two files in PEM form")
        if self.tls and self.tls_cert:
            raise ValueError(
                "TLS=self makes a certificate, TLS_CERT and TLS_KEY name your own: give one or the other"
            )
        if self.is_tls and not self.trusted_proxies and (self.public_url or "").startswith("http:"):
            raise ValueError(
                f"GSW_PUBLIC_URL ({self.public_url}) must start with https://: the server speaks TLS"
            )

    def _refuse_logs_without_tasks(self) -> None:
        logs, tasks = self.retention_log_days, self.retention_task_days
        if tasks and (logs == 0 or logs > tasks):
            kept = f"{logs} days" if logs else "0, for ever"
            raise ValueError(
                f"GSW_RETENTION_LOG_DAYS ({kept}) must be at most GSW_RETENTION_TASK_DAYS ({tasks} days): "
                "a task takes its logs with it"
            )

    @property
    def allowed_schemes(self) -> tuple[str, ...]:
        """Of git's URLs."""
        return tuple(self.git_schemes.split(","))

    @property
    def is_tls(self) -> bool:
        return self.certificate_files is not None

    @property
    def certificate_files(self) -> tuple[Path, Path] | None:
        """What TLS is served with, in PEM form: the certificate, and its key. None: plain http."""
        if self.tls:
            return self.instance_path / "tls" / "certificate.pem", self.instance_path / "tls" / "key.pem"
        return (self.tls_cert, self.tls_key) if self.tls_cert and self.tls_key else None

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.instance_path / 'garageswarm.db'}"

    @property
    def is_sqlite(self) -> bool:
        return self.database.startswith("sqlite:")


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. Raises SettingsError with one line that says which setting to change."""
    values = _from_environment(environ)
    instance = Path(values.get("instance_path") or REPOSITORY / "instance").expanduser().absolute()
    in_file = _from_file(instance / "config.py")
    try:
        return Settings(**{**in_file, **values, "instance_path": instance})
    except ValidationError as error:
        raise SettingsError(_one_line(error, in_file.keys() - values.keys())) from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        field: environ[name] for name, field in PLAIN_NAMES.items() if environ.get(name)
    }
    for name in sorted(environ):
        if name.startswith("GSW_"):
            field = name.removeprefix("GSW_").lower()
            if field not in Settings.model_fields:
                raise SettingsError(f"{name} is not a setting.{_did_you_mean(name, 'GSW_')}")
            values[field] = environ[name]
    return values


def _from_file(path: Path) -> dict[str, Any]:
    """`instance/config.py` is Python; its names in capitals are settings without the prefix."""
    if not path.exists():
        return {}
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{path} can't be read: {type(error).__name__}: {error}") from error
    settings = {name: value for name, value in names.items() if name.isupper()}
    for name in settings:
        if name.lower() not in Settings.model_fields:
            raise SettingsError(f"{name} in {path} is not a setting.{_did_you_mean(name)}")
    return {name.lower(): value for name, value in settings.items()}


def _did_you_mean(name: str, prefix: str = "") -> str:
    known = [f"{prefix}{field.upper()}" for field in Settings.model_fields]
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def _one_line(error: ValidationError, in_file: Collection[str]) -> str:
    """The first thing that is wrong, by the name that the person wrote."""
    row = error.errors()[0]
    message = row["msg"].removeprefix("Value error, ")
    if not row["loc"]:
        return message
    field = str(row["loc"][0])
    plain = next((name for name, known in PLAIN_NAMES.items() if known == field), f"GSW_{field.upper()}")
    name = field.upper() if field in in_file else plain
    shown = "…" if field == "database_url" else repr(row["input"])  # it may hold a password
    return f"{name}={shown}: {message}"


def flask_config(settings: Settings, secret_key: str) -> dict[str, Any]:
    """What Flask and its extensions read."""
    return {
        "SETTINGS": settings,
        "SECRET_KEY": secret_key,
        "PUBLIC_URL": settings.public_url,
        "SQLALCHEMY_DATABASE_URI": settings.database,
        "SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 20, "max_overflow": 10, "pool_timeout": 10},
        "MAX_CONTENT_LENGTH": 2 * 1024 * 1024,
        "MAX_FORM_MEMORY_SIZE": 1024 * 1024,
        "SESSION_COOKIE_NAME": "gsw_session",
        # Only an answer that changes the session sets its cookie. With every answer, one that is late (a file, a poll)
        # would put the old cookie over the new one, and what a form's toast says would be lost.
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": timedelta(days=settings.session_days),
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.is_tls or (settings.public_url or "").startswith("https:"),
        "WTF_CSRF_TIME_LIMIT": None,
        "WTF_CSRF_SSL_STRICT": False,  # the Origin check covers it, and proxies strip Referer
        "RATELIMIT_STORAGE_URI": "tallies://",
        # Less than a TLS record would leave its rest unseen within OpenSSL until more comes: 16 kB.
        "SOCK_SERVER_OPTIONS": {"ping_interval": 25, "max_message_size": 65536, "receive_bytes": 16384},
    }
