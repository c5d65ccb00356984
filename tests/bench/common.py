"""What the benchmarks share: a sink that counts, figures of a process tree, starting and ending."""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
SINK, RELAY, HEALTH, POSTFIX, SUBMISSION = 2600, 2610, 2611, 2612, 2613
DELIVERY_LIMIT = 180
# Nothing more will come.
SILENCE_LIMIT = 45
START_LIMIT = 30
SAMPLE_EVERY = 0.25


def note(message):
    print(message, file=sys.stderr, flush=True)


def fail(message):
    sys.exit(f"{sys.argv[0]}: {message}")


def wait_for_port(port, process, fail=fail, host="127.0.0.1"):
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            fail(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    fail(f"nothing listens at port {port} within {START_LIMIT} s")


class Sink:
    """`smtp-sink`, which counts what it got, or another program that shows its counter alike."""

    def __init__(self, command=None, port=SINK, host="127.0.0.1"):
        self.messages = 0
        # smtp-sink refuses to stay root. -c shows running counters.
        unprivileged = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            command or ["smtp-sink", *unprivileged, "-c", f"{host}:{port}", "1024"],
            stdout=subprocess.PIPE)
        threading.Thread(target=self.count, daemon=True).start()
        wait_for_port(port, self.process, host=host)

    def count(self):
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            rest = (rest + chunk)[-200:]
            if found := re.findall(rb"mesg=(\d+)\r", rest):
                self.messages = int(found[-1])

    def wait_for(self, number, fail=fail):
        start = time.monotonic()
        seen, last = self.messages, start
        while self.messages < number:
            now = time.monotonic()
            if self.messages != seen:
                seen, last = self.messages, now
            if now - start > DELIVERY_LIMIT or now - last > SILENCE_LIMIT:
                fail(f"only {seen} of {number} messages arrived in {now - start:.0f} s")
            time.sleep(0.005)


class Tree:
    """A process and its descendants, by /proc."""

    def __init__(self, root):
        self.root = root

    def stats(self):
        """pid → (parent, CPU ticks with those of ended children)"""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                text = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            found[int(entry)] = int(fields[1]), sum(map(int, fields[11:15]))
        return found

    def members(self, stats):
        members = {self.root}
        while more := {pid for pid, (parent, _) in stats.items()
                       if parent in members and pid not in members}:
            members |= more
        return members

    def cpu(self):
        stats = self.stats()
        return sum(stats[pid][1] for pid in self.members(stats) if pid in stats) / TICKS

    def memory(self):
        """MiB, pages shared by several processes divided among them"""
        total = 0
        for pid in self.members(self.stats()):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            if found := re.search(r"^Pss:\s+(\d+) kB", text, re.M):
                total += int(found[1])
        return total / 1024


class Sampler:
    """The peak of a tree's memory while the block runs."""

    def __init__(self, tree):
        self.tree, self.peak, self.done = tree, 0.0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        while not self.done.wait(SAMPLE_EVERY):
            self.peak = max(self.peak, self.tree.memory())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def relay_binary():
    note("building the relay (release)")
    command = ["cargo", "build", "--locked", "--release", "-p", "relay"]
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
        fail(f"{' '.join(command)} failed")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/relay"


def medians(results):
    digits = {"per_second": 0, "cpu_seconds_per_1000": 3, "peak_memory_mib": 1}
    return {
        key: round(statistics.median(result[key] for result in results), places or None)
        for key, places in digits.items()
    }


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
