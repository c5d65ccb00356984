"""A queue full of mail to a destination that does not answer."""

import json
import subprocess
import time
import urllib.request

from common import HEALTH, Sampler, Sink, note, wait_for_port
from measuring import SENDING_LIMIT, SMTP
from names import BlackHole, Names
from peers import DOMAIN, RESOLVER, Failed, Plan

# d0.… is dead, every other domain alive, at an address that is not Postfix's own.
DEAD_ADDRESS, LIVING_ADDRESS = "127.66.0.1", "127.67.0.1"
SESSIONS, OCTETS = 100, 1024
LIVING_LIMIT = 60


def address_of(domain):
    return DEAD_ADDRESS if domain == "d0" else LIVING_ADDRESS


def send(bench, peer, domain, messages, seconds):
    command = [bench.load, "--address", f"127.0.0.1:{peer.port}", "--sessions",
               min(SESSIONS, messages), "--messages", messages, "--bytes", OCTETS,
               "--seconds", seconds, "--sender", f"from@{DOMAIN}",
               "--recipient", f"to@{domain}.sink.example"]
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=seconds + SENDING_LIMIT)
    except subprocess.TimeoutExpired:
        peer.failed("took no mail any more")
    if done.returncode != 0:
        peer.failed(f"did not take mail: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def living(bench, peer, sink):
    """Seconds until a message to a living destination is there."""
    target = sink.messages + 1
    start = time.monotonic()
    send(bench, peer, "d1", 1, LIVING_LIMIT)
    sink.wait_for(target, peer.failed)
    return time.monotonic() - start


def queued():
    """Messages that the relay says it has."""
    with urllib.request.urlopen(f"http://127.0.0.1:{HEALTH}/metrics", timeout=10) as response:
        for line in response.read().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name.split("{")[0] == "relay_queue_messages":
                return int(float(value))
    return None


def fill(bench, peer, messages, seconds):
    peer.start(Plan(by_mx=True))
    sink = Sink(port=SMTP, host=LIVING_ADDRESS)
    try:
        with Sampler(peer.tree) as sampler:
            sent = send(bench, peer, "d0", messages, seconds)
            delivered = living(bench, peer, sink)
        result = {
            "messages": sent["messages"],
            "accepted_per_second": round(sent["messages"] / sent["seconds"]),
            "peak_memory_mib": round(sampler.peak, 1),
            "living_seconds": round(delivered, 3),
        }
        if peer.name == "ours":
            result |= recover(bench, peer, sink, sent["messages"])
        note(f"dead: {peer.name}: {result}")
        return result
    finally:
        sink.process.terminate()
        sink.process.wait()
        peer.stop()


def recover(bench, peer, sink, messages):
    """Killed and started again: until it takes mail, and until mail to a living destination is there."""
    peer.process.kill()
    peer.process.wait()
    # What is measured is reading the queue, from a disk whose cache may be warm as after any crash of a
    # process.
    start = time.monotonic()
    peer.restart()
    wait_for_port(peer.port, peer.process, peer.failed)
    seconds = time.monotonic() - start
    with Sampler(peer.tree) as sampler:
        delivered = living(bench, peer, sink)
        found = queued()
    if found != messages:
        peer.failed(f"{messages} messages were accepted, {found} are there after a crash")
    return {
        "recovery_seconds": round(seconds, 2),
        "living_seconds_after_recovery": round(delivered, 3),
        "memory_after_recovery_mib": round(max(sampler.peak, peer.tree.memory()), 1),
    }


def compare(bench, messages, postfix_seconds):
    """The relay with all messages, Postfix with as many as it takes in so many seconds."""
    hole = BlackHole(DEAD_ADDRESS, SMTP)
    names = Names(RESOLVER, 53, address_of)
    results = {}
    # Long enough for any rate that is worth a measurement.
    seconds = {"ours": 3600, "postfix": postfix_seconds}
    try:
        for peer in bench.peers:
            if peer.name not in seconds:
                results[peer.name] = {"unable": "only Postfix is compared here"}
                continue
            try:
                results[peer.name] = fill(bench, peer, messages, seconds[peer.name])
            except Failed as failure:
                results[peer.name] = {"failed": str(failure).splitlines()[0]}
                bench.failures.append(f"dead: {failure}")
    finally:
        names.stop()
        hole.close()
    return results
