"""One load on one peer: how fast it accepted and delivered, and what that cost."""

import json
import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from common import SINK, Sampler, Sink, note
from machine import Device
from names import Names
from peers import DOMAIN, RESOLVER, Failed, Plan, Unable

SMTP = 25
# Fills caches, starts the processes of a peer that has many, and says how many messages make a run of
# the wanted length.
WARM_UP = 60
LEAST, MOST = 60, 60_000
# A peer that needs so many seconds for a measurement gets one round.
SLOW = 25
SENDING_LIMIT = 180
REFUSED_SHARE = 3
# Digits that are shown; None: a whole number.
FIGURES = {
    "accepted_per_second": None,
    "delivered_per_second": None,
    "cpu_seconds_per_1000": 3,
    "idle_memory_mib": 1,
    "peak_memory_mib": 1,
    "octets_written_per_octet": 2,
    "flushes_per_message": 3,
    "p50_ms": 2,
    "p99_ms": 2,
    "p999_ms": 2,
}


@dataclass(frozen=True)
class Load:
    """What is sent. Sessions of `clients` are reused and their replies timed; otherwise `smtp-source`
    sends, with a connection for each message unless `reused`."""

    id: str
    title: str
    sessions: int = 20
    octets: int = 4096
    reused: bool = False
    clients: bool = False
    # Domains, each with its own mail exchanger. 0: one destination.
    spread: int = 0
    refused: bool = False
    keys: tuple = ()
    quick: bool = False

    def plan(self):
        return Plan(by_mx=self.spread > 0, keys=self.keys)


@dataclass
class Bench:
    """What every measurement needs."""

    temporary: Path
    load: Path
    sink: Path
    peers: list
    rounds: int = 3
    # Length of a run, for a peer as fast as in its warm-up.
    seconds: float = 4.0
    failures: list = field(default_factory=list)

    def message_number(self, rate, sessions):
        number = int(min(max(rate * self.seconds, LEAST, sessions), MOST))
        return number - number % REFUSED_SHARE


def address_of(domain):
    """Where mail for d<N> goes: every destination has its own address on this machine."""
    number = int(domain[1:]) if domain[1:].isdigit() else 0
    return f"127.67.{number // 250 % 250}.{number % 250 + 1}"


def open_sink(load, bench):
    if load.refused:
        return Sink([bench.sink, "--address", f"127.0.0.1:{SINK}",
                     "--refused-share", str(REFUSED_SHARE)])
    if load.spread:
        # At every address.
        return Sink(["smtp-sink", "-u", "nobody", "-c", f":{SMTP}", "1024"], SMTP)
    return Sink()


def send(load, bench, peer, messages, **options):
    """Sends and returns seconds and, of `clients`, the times of the replies."""
    if load.clients or load.spread:
        command = [bench.load, "--address", f"127.0.0.1:{peer.port}", "--sessions", load.sessions,
                   "--messages", messages, "--bytes", load.octets, "--spread", load.spread,
                   "--sender", f"from@{DOMAIN}", "--recipient", "to@sink.example"]
    else:
        command = ["smtp-source", "-s", load.sessions, "-l", load.octets, "-m", messages,
                   *(["-d"] if load.reused else []), *(["-N"] if load.refused else []),
                   "-f", f"from@{DOMAIN}", "-t", "to@sink.example", f"127.0.0.1:{peer.port}"]
    start = time.monotonic()
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=SENDING_LIMIT)
    except subprocess.TimeoutExpired:
        peer.failed(f"{messages} messages were not taken within {SENDING_LIMIT} s")
    seconds = time.monotonic() - start
    if done.returncode != 0:
        peer.failed(f"did not take {messages} messages: {done.stderr.strip()[-500:]}")
    if load.clients:
        return json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds}


def run(load, bench, peer):
    """Sends a warm-up and then what is measured; figures by name."""
    sink = open_sink(load, bench)
    kept = REFUSED_SHARE - 1 if load.refused else REFUSED_SHARE

    def arrived(messages):
        return messages * kept // REFUSED_SHARE

    try:
        idle = peer.tree.memory()
        # At least one message for each session.
        warm_up = max(WARM_UP, load.sessions)
        warm_up -= warm_up % REFUSED_SHARE
        start = time.monotonic()
        send(load, bench, peer, warm_up)
        sink.wait_for(arrived(warm_up), peer.failed)
        messages = bench.message_number(warm_up / (time.monotonic() - start), load.sessions)
        target = sink.messages + arrived(messages)
        device = Device(bench.temporary)
        # What is still to be written belongs to what was before.
        os.sync()
        written, cpu = device.written(), peer.tree.cpu()
        start = time.monotonic()
        with Sampler(peer.tree) as sampler:
            sent = send(load, bench, peer, messages)
            sink.wait_for(target, peer.failed)
        delivered = time.monotonic() - start
        result = {
            "messages": messages,
            "accepted_per_second": messages / sent["seconds"],
            "delivered_per_second": arrived(messages) / delivered,
            "cpu_seconds_per_1000": (peer.tree.cpu() - cpu) / messages * 1000,
            "idle_memory_mib": idle,
            "peak_memory_mib": max(sampler.peak, idle),
        }
        if written:
            now = device.written()
            octets = now.octets - written.octets
            result["octets_written_per_octet"] = octets / (messages * load.octets)
            if now.flushes is not None:
                result["flushes_per_message"] = (now.flushes - written.flushes) / messages
        return result | {key: sent[key] for key in ("p50_ms", "p99_ms", "p999_ms") if key in sent}
    finally:
        sink.process.terminate()
        sink.process.wait()


def measure(load, bench, peer):
    # Also where nothing is delivered by MX: some ask for the client's name, and wait for the answer.
    names = Names(RESOLVER, 53, address_of)
    try:
        peer.start(load.plan())
        result = run(load, bench, peer)
    finally:
        peer.stop()
        names.stop()
    shown = {key: round(result[key], places) for key, places in FIGURES.items() if key in result}
    note(f"{load.id}: {peer.name}: {shown}")
    return result


def compare(load, bench):
    """Medians over the rounds by peer; the peers alternate. In place of a peer's figures stands why it
    has none."""
    results = {peer.name: [] for peer in bench.peers}
    reasons, slow = {}, set()
    for _ in range(bench.rounds):
        for peer in bench.peers:
            if peer.name in reasons or peer.name in slow:
                continue
            start = time.monotonic()
            try:
                results[peer.name].append(measure(load, bench, peer))
                if time.monotonic() - start > SLOW:
                    slow.add(peer.name)
            except Unable as reason:
                reasons[peer.name] = {"unable": str(reason)}
                note(f"{load.id}: {peer.name}: – ({reason})")
            except Failed as failure:
                reasons[peer.name] = {"failed": str(failure).splitlines()[0]}
                bench.failures.append(f"{load.id}: {failure}")
                note(f"{load.id}: {failure}")
    return {
        name: reasons.get(name) or medians(found)
        for name, found in results.items()
    }


def medians(results):
    figures = {
        key: round(statistics.median(result[key] for result in results), places)
        for key, places in FIGURES.items() if all(key in result for result in results)
    }
    return {"rounds": len(results), "messages": results[-1]["messages"]} | figures
