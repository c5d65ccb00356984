"""What the machine did: CPU by control group, the block device's counters, and what machine it is."""

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common import Tree

SECTOR = 512
V1, V2 = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Written:
    octets: int
    # None: the machine does not count them.
    flushes: int | None


class Device:
    """The block device that holds a directory. Its counters include what others write there."""

    def __init__(self, directory):
        number = os.stat(directory).st_dev
        path = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
        # Flushes are counted for the whole device, not for its partitions.
        if (path / "partition").exists():
            path = path.parent
        self.counters = path / "stat"
        if not self.counters.exists():
            self.counters = None

    def written(self):
        if self.counters is None:
            return None
        fields = [int(field) for field in self.counters.read_text().split()]
        # Field 16 since Linux 5.5 (Documentation/block/stat.rst).
        return Written(fields[6] * SECTOR, fields[15] if len(fields) > 15 else None)


class Group:
    """A control group for a process and its descendants. Exim's leave no trace of their CPU time in
    /proc once they ended."""

    def __init__(self, name):
        self.path = None
        top, counter = (V1, "cpuacct.usage") if V1.is_dir() else (V2, "cpu.stat")
        path = top / f"mailrelay-bench-{name}-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            return
        if not (path / counter).exists():
            path.rmdir()
            return
        self.path, self.counter = path, path / counter

    def enter(self):
        """For a process that is about to execute another program."""
        if self.path:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def cpu(self):
        """Seconds; None when the machine has no such group."""
        if not self.path:
            return None
        text = self.counter.read_text()
        if self.counter.name == "cpu.stat":
            return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6
        return int(text) / 1e9

    def remove(self):
        if self.path:
            try:
                self.path.rmdir()
            except OSError:
                # Something in it is still ending; an empty group costs nothing.
                pass


class Usage(Tree):
    """CPU and memory of a peer."""

    def __init__(self, root, group):
        super().__init__(root)
        self.group = group

    def cpu(self):
        seconds = self.group.cpu()
        return super().cpu() if seconds is None else seconds


def output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def describe(directory):
    """For the head of the results."""
    processor = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    written = Device(directory).written()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor,
        "architecture": platform.machine(),
        "memory_gib": round(memory / 1024 / 1024, 1),
        "kernel": platform.release(),
        "file_system": output("findmnt", "--noheadings", "--output", "FSTYPE", "--target",
                              str(directory)),
        "counts_flushes": bool(written and written.flushes is not None),
        "load_before": round(os.getloadavg()[0], 2),
    }
