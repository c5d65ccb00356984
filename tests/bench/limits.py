"""What the machine can do at the most, and which versions were compared."""

import gzip
import json
import re
import subprocess
import time
from pathlib import Path

from common import SINK, Sink, fail, note
from machine import output


def straight(messages, octets, *options):
    """Messages per second from the client to the sink with nothing in between."""
    sink = Sink()
    try:
        start = time.monotonic()
        done = subprocess.run(
            ["smtp-source", "-s", "20", "-l", str(octets), "-m", str(messages), *options,
             "-f", "from@bench.example", "-t", "to@sink.example", f"127.0.0.1:{SINK}"])
        if done.returncode != 0:
            fail("smtp-source could not send to smtp-sink")
        sink.wait_for(messages)
        return round(messages / (time.monotonic() - start))
    finally:
        sink.process.terminate()
        sink.process.wait()


def measure(program, directory, seconds):
    done = subprocess.run([program, "--directory", directory, "--seconds", str(seconds)],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail("the limits of the machine could not be measured")
    found = json.loads(done.stdout.splitlines()[-1])
    found = {key: round(value, 3 if key.endswith("_ms") else None) for key, value in found.items()}
    number = max(int(6000 * seconds), 500)
    found |= {
        "straight_4k_per_second": straight(number, 4096),
        "straight_4k_reused_per_second": straight(number, 4096, "-d"),
        "straight_100k_per_second": straight(number // 4, 102_400),
    }
    note(f"limits: {found}")
    return found


def package_version(directory, name):
    """As Debian's log of changes says: some programs tell their version only where they are installed."""
    path = Path(directory) / "usr/share/doc" / name / "changelog.Debian.gz"
    with gzip.open(path, "rt", errors="replace") as lines:
        return re.search(r"\((\S+)\)", next(lines))[1]


def versions(prepared):
    """Of the relay and of what Debian installed or `tests/peers/setup` fetched."""
    opendkim = re.search(r"OpenDKIM Filter (\S+)", output("opendkim", "-V"))
    found = {"ours": output(prepared["binary"], "--version").rpartition(" ")[2],
             "postfix": output("postconf", "-dh", "mail_version"),
             "opendkim": opendkim[1] if opendkim else ""}
    if packages := prepared["packages"]:
        found["exim"] = package_version(f"{packages}/exim", "exim4-daemon-light")
        found["opensmtpd"] = package_version(f"{packages}/opensmtpd", "opensmtpd")
        package = Path(packages, "haraka/node_modules/Haraka/package.json").read_text()
        found["haraka"] = f"{json.loads(package)['version']} on Node {output('node', '--version')}"
    return {name: text for name, text in found.items() if text}
