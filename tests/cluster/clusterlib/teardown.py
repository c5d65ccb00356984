"""Takes a cluster down, whole or half-started, so that nothing is left.

The order carries the argument: first the kubelet and containerd, so that no
new container appears; then containers, found in the cluster's own cgroup; then
mounts; and files only once nothing is mounted over them, since a removal
through a bind mount would delete what it shows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from . import network, processes, settings
from .processes import Supervisor
from .report import ClusterError, wait_for
from .settings import Paths

#: Stands in each directory that this harness made and may remove.
MARKER = ".made-by-mailrelay-cluster"

CGROUP_ROOT = Path("/sys/fs/cgroup")


def present(paths: Paths) -> bool:
    """Whether there is anything of a cluster, alive or dead."""
    return paths.state.exists() or paths.data.exists()


def run(paths: Paths) -> None:
    """Removes everything that the cluster has brought to this machine."""
    supervisor = Supervisor(paths)
    _end_processes(supervisor)
    _remove_shim_sockets(paths)
    _unmount(paths)
    _remove_cgroups()
    network.destroy(paths)
    _remove_log_links(paths)
    for folder in (paths.data, paths.state):
        _remove_folder(folder)


def make_folder(folder: Path, mode: int) -> None:
    """Makes a directory that `run` may remove again."""
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    (folder / MARKER).touch()


def create_cgroups() -> None:
    """Makes the cgroup under which the kubelet puts all pods."""
    for hierarchy in _hierarchies():
        (hierarchy / settings.CGROUP).mkdir(exist_ok=True)


def mounts_below(mountinfo: str, folders: Iterable[Path]) -> list[str]:
    """Mount points in the given folders, the latest first."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    points = [_unescape(line.split()[4]) for line in mountinfo.splitlines() if line]
    return [point for point in reversed(points) if point.startswith(prefixes)]


def _end_processes(supervisor: Supervisor) -> None:
    first = [supervisor.find(name) for name in ("kubelet", "containerd")]
    processes.end([each for each in first if each is not None], grace=0)
    recorded = [supervisor.find(name) for name in supervisor.recorded()]
    # Shims inherit containerd's environment, and with it the mark.
    processes.end([each for each in recorded if each], grace=0)
    processes.end(supervisor.marked(), grace=0)

    def contained() -> bool:
        alive = processes.members(_process_lists())
        processes.end(alive, grace=0)
        return not alive

    wait_for("the end of all containers", contained, limit=20)


def _process_lists() -> list[Path]:
    found: list[Path] = []
    for hierarchy in _hierarchies():
        found += (hierarchy / settings.CGROUP).rglob("cgroup.procs")
    return found


def _hierarchies() -> list[Path]:
    """Version 2 has one hierarchy; version 1 has a directory for each."""
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return [path for path in CGROUP_ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def _remove_cgroups() -> None:
    for hierarchy in _hierarchies():
        top = hierarchy / settings.CGROUP
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_cgroup(Path(folder))


def _remove_cgroup(folder: Path) -> None:
    # The kernel may still be letting go of the last process.
    def removed() -> bool:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        return True

    wait_for(f"removal of cgroup {folder}", removed, limit=10)


def _unmount(paths: Paths) -> None:
    folders = [paths.state, paths.data]
    for attempt in range(5):
        points = mounts_below(_mountinfo(), folders)
        if not points:
            return
        # Plainly first; lazily when something clings to it.
        options = [] if attempt < 2 else ["-l"]
        subprocess.run(["umount", *options, *points], capture_output=True, check=False)
        if attempt:
            time.sleep(0.1)
    raise ClusterError(f"still mounted: {' '.join(mounts_below(_mountinfo(), folders))}")


def _mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def _unescape(word: str) -> str:
    """Undoes the kernel's octal escapes of blanks and backslashes."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def _remove_shim_sockets(paths: Paths) -> None:
    """A killed shim leaves its socket, in a directory that containerd fixes."""
    for note in paths.containerd_state.glob("io.containerd.runtime.v2.task/*/*/address"):
        address = note.read_text(encoding="utf-8").strip()
        if address.startswith("unix:///run/containerd/s/"):
            Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _remove_log_links(paths: Paths) -> None:
    """The kubelet links each container's log from a directory of the system's."""
    folder = Path("/var/log/containers")
    if not folder.is_dir():
        return
    for link in folder.iterdir():
        if link.is_symlink() and os.readlink(link).startswith(f"{paths.data}/"):
            link.unlink()


def _remove_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / MARKER).exists():
        raise ClusterError(f"{folder} was not made by this harness; it is left alone")
    shutil.rmtree(folder)
