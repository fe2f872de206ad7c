"""What this machine is, and how it is doing."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import pwd
import shutil
import socket
import threading
import uuid
from pathlib import Path
from types import ModuleType

from agent import clock

# So that the id says "the same machine" to us and nothing to anybody else who knows its machine-id.
_SALT = "garageswarm agent 1:"
_FRESH_S = 2.0
NO_ROOM_BYTES = 16 * 1024**2


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_psutil = _optional("psutil")


def _first_line(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as lines:
            return lines.readline().strip()
    except OSError:
        return ""


def machine_id(fallback: str) -> str:
    """A stable hash of this machine's identity; of `fallback` where the system has none."""
    raw = _first_line("/etc/machine-id") or _first_line("/var/lib/dbus/machine-id") or fallback
    return hashlib.sha256((_SALT + raw).encode()).hexdigest()


# Where the system doesn't say, every start of the agent counts as a boot: nothing is adopted by mistake.
_OWN_BOOT = str(uuid.uuid4())


def boot_id() -> str:
    """Changes at each boot: a process id from before it means nothing."""
    return _first_line("/proc/sys/kernel/random/boot_id") or _OWN_BOOT


def boot_of(folder: Path) -> str:
    """The boot as the server knows it: another one for each folder, so that an agent's copy isn't taken for itself."""
    try:
        place = folder.stat()
    except OSError:
        return boot_id()
    return hashlib.sha256(f"{boot_id()}:{place.st_dev}:{place.st_ino}".encode()).hexdigest()[:32]


def describe() -> str:
    """One readable string: `Debian GNU/Linux 12, x86_64`."""
    return f"{_system()}, {platform.machine()}"


def _system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}"
    words = [release["NAME"], release.get("VERSION_ID", "")]
    return " ".join(word for word in words if word)


def account_name(uid: int) -> str:
    """Its number where the system knows no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def host_name() -> str:
    return socket.gethostname()


def memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 4 * 10**9


def cpu_seconds() -> tuple[float, float]:
    """Busy and all seconds of all cores since boot, as the system counts them."""
    fields = [float(field) for field in _first_line("/proc/stat").split()[1:9]]
    if len(fields) < 5:
        return 0.0, 0.0
    return sum(fields) - fields[3] - fields[4], sum(fields)


def memory_percent() -> float:
    if _psutil is not None:
        return float(_psutil.virtual_memory().percent)
    sizes = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            sizes[name] = int(rest.split()[0])
        return round(100 * (1 - sizes["MemAvailable"] / sizes["MemTotal"]), 1)
    except (OSError, ValueError, LookupError, ZeroDivisionError):
        return 0.0


def is_full(path: Path) -> bool:
    """Whether next to nothing more can be written there: programs fail then, and seldom say why."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < NO_ROOM_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


class Gauges:
    """The machine's load, read at most every two seconds."""

    def __init__(self, jobs: Path, disk_floor_bytes: int) -> None:
        self._jobs = jobs
        self._floor = disk_floor_bytes
        self._lock = threading.Lock()
        self._cpu = cpu_seconds()
        self._read_at = float("-inf")
        self._metrics: dict[str, float] = {}
        self.disk_low = ""  # what is wrong with it, in words

    def metrics(self) -> dict[str, float]:
        """`{cpu_percent, memory_percent, disk_free_bytes, load_1m}`; and, where the system says it, `memory_total_bytes`
        and `disk_total_bytes`."""
        with self._lock:
            if clock.now() - self._read_at >= _FRESH_S:
                self._metrics = self._read()
                self._read_at = clock.now()
            return self._metrics

    def _read(self) -> dict[str, float]:
        return {
            "cpu_percent": self._cpu_percent(),
            "memory_percent": memory_percent(),
            "load_1m": round(os.getloadavg()[0], 2),
            **self._disk(),
            **_memory_total(),
        }

    def _cpu_percent(self) -> float:
        if _psutil is not None:
            return float(_psutil.cpu_percent(None))
        before, self._cpu = self._cpu, cpu_seconds()
        whole = self._cpu[1] - before[1]
        return round(100 * (self._cpu[0] - before[0]) / whole, 1) if whole > 0 else 0.0

    def _disk(self) -> dict[str, float]:
        try:
            disk = shutil.disk_usage(self._jobs)
        except OSError:
            return {"disk_free_bytes": 0}
        wanted = max(self._floor, disk.total // 20)
        is_low = self._floor > 0 and disk.free < wanted
        self.disk_low = f"disk low: {gib(disk.free)} free of {gib(wanted)} wanted" if is_low else ""
        return {"disk_free_bytes": disk.free, "disk_total_bytes": disk.total}


def _memory_total() -> dict[str, float]:
    try:
        return {"memory_total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    except (OSError, ValueError):
        return {}


def gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"
