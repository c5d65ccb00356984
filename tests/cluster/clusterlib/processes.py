"""Processes of the cluster: start, record, find again, end.

A process is known by its id and its start time together, so a record that
outlived its process never points at a stranger. Nothing is ever ended by name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import settings
from .report import ClusterError, wait_for
from .settings import Paths

#: Lines of a dead component's log that go into the error message.
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class Process:
    """One process: its id, and when it started in clock ticks since boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has gone is no error."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def start_time(pid: int) -> int | None:
    """The start time of a running process, `None` when it is gone or dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return parse_stat(stat)


def parse_stat(stat: str) -> int | None:
    """Start time out of `/proc/PID/stat`; the name in it may hold anything."""
    fields = stat[stat.rfind(")") + 1 :].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


class Supervisor:
    """Starts the components of one cluster and keeps their records."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def start(
        self, name: str, arguments: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        """Starts a component in its own session and records it."""
        if self.running(name):
            return
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        self.paths.processes.mkdir(parents=True, exist_ok=True)
        with open(self._log(name), "ab") as log:
            child = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=self._environment(environment or {}),
                start_new_session=True,
            )
        # Read before the child can be reaped: only this process reaps it.
        started = start_time(child.pid) or 0
        record = {"pid": child.pid, "started": started, "arguments": list(arguments)}
        target = self._record(name)
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(target)

    def find(self, name: str) -> Process | None:
        """The recorded process of a component, alive or not."""
        try:
            record = json.loads(self._record(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Process(int(record["pid"]), int(record["started"]))

    def running(self, name: str) -> bool:
        """Whether the component's recorded process is alive."""
        process = self.find(name)
        return process is not None and process.alive()

    def stop(self, name: str, kill: bool, limit: float) -> None:
        """Ends a component: asks first unless `kill`, then forces."""
        process = self.find(name)
        if process is not None:
            end([process], grace=0.0 if kill else limit)
        self._record(name).unlink(missing_ok=True)

    def require(self, *names: str) -> None:
        """Raises, with the end of its log, when a component has died."""
        for name in names:
            if not self.running(name):
                raise ClusterError(f"{name} has ended; its log closes with:\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        """The last lines of a component's log."""
        try:
            text = self._log(name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])

    def recorded(self) -> list[str]:
        """Names of all components with a record."""
        return sorted(path.stem for path in self.paths.processes.glob("*.json"))

    def marked(self) -> list[Process]:
        """Every process that carries this cluster's mark in its environment."""
        mark = f"{settings.OWNER_VARIABLE}={self.paths.state}".encode()
        return [
            process
            for process in _all_processes()
            if mark in _read_list(Path(f"/proc/{process.pid}/environ"))
        ]

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        return {
            "PATH": settings.SEARCH_PATH,
            "HOME": "/root",
            settings.OWNER_VARIABLE: str(self.paths.state),
            **extra,
        }

    def _log(self, name: str) -> Path:
        return self.paths.logs / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.paths.processes / f"{name}.json"


def end(processes: Iterable[Process], grace: float) -> None:
    """Ends processes and waits until none is left.

    Each gets SIGTERM and `grace` seconds, then SIGKILL; without grace, SIGKILL.
    """
    remaining = list(processes)
    if grace > 0:
        for process in remaining:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while any(process.alive() for process in remaining) and time.monotonic() < deadline:
            time.sleep(0.05)
    for process in remaining:
        process.send(signal.SIGKILL)
    wait_for(
        "the end of killed processes",
        lambda: not any(process.alive() for process in remaining),
        limit=20,
    )


def members(process_lists: Iterable[Path]) -> list[Process]:
    """The processes that the given `cgroup.procs` files name."""
    found: dict[int, Process] = {}
    for path in process_lists:
        try:
            words = path.read_text(encoding="ascii").split()
        except OSError:
            continue
        for pid in map(int, words):
            started = start_time(pid)
            if started is not None:
                found[pid] = Process(pid, started)
    return list(found.values())


def _all_processes() -> Iterable[Process]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            started = start_time(int(entry))
            if started is not None:
                yield Process(int(entry), started)


def _read_list(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []
