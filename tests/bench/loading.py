"""An authenticated listener under load: certificates, the relay's configuration, the clients."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

from common import HEALTH, ROOT, SUBMISSION, fail, note, wait_for_port

PASSWORD = "blue-otter-42"
NAME = "relay.bench.example"


def load_binary():
    note("building the clients (release)")
    command = ["cargo", "build", "--locked", "--release", "-p", "mailrelay-tests", "--bin", "load"]
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
        fail(f"{' '.join(command)} failed")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/load"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def make_certificates(directory):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=bench authority", "-days", "2",
            "-keyout", directory / "ca.key", "-out", directory / "ca.crt")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
            "-addext", "basicConstraints=critical,CA:FALSE", "-days", "2",
            "-CA", directory / "ca.crt", "-CAkey", directory / "ca.key",
            "-keyout", directory / "tls.key", "-out", directory / "tls.crt")


def start_relay(binary, directory, keys, **settings):
    """The relay with one listener that wants a login; `settings` are further parts of its
    configuration."""
    directory.mkdir()
    make_certificates(directory)
    verifier = subprocess.run([binary, "hash-password"], input=PASSWORD, text=True,
                              capture_output=True, check=True).stdout.strip()
    limits = {"connections": 2000, "connectionsPerAddress": 2000, "connectionsPerIdentity": 2000}
    configuration = {
        "version": 1,
        "relay": "bench",
        "hostname": NAME,
        "listeners": [{"name": "bench", "address": f"127.0.0.1:{SUBMISSION}", "tls": "Implicit"}],
        "tls": {"certificate": "tls.crt", "key": "tls.key"},
        "limits": limits,
        "health": {"address": f"127.0.0.1:{HEALTH}"},
        "domains": [{"name": "bench.example", "senders": ["*"], "dkim": keys}],
        "credentials": [{"username": "bench", "identity": "credential:bench/bench",
                         "verifiers": [verifier]}],
    } | settings
    path = directory / "relay.json"
    path.write_text(json.dumps(configuration))
    process = subprocess.Popen(
        [binary, "serve", "--config", path],
        stdout=open(directory / "relay.log", "w"), stderr=subprocess.STDOUT)
    wait_for_port(SUBMISSION, process)
    return process


def send(load, directory, *arguments):
    """Starts the clients; [`figures`] waits for what they say."""
    auth = base64.b64encode(f"\0bench\0{PASSWORD}".encode()).decode()
    environment = os.environ | {"LOAD_AUTH": f"PLAIN {auth}"}
    return subprocess.Popen(
        [load, "--address", f"127.0.0.1:{SUBMISSION}", "--name", NAME,
         "--authority", directory / "ca.crt", "--sender", "from@bench.example",
         *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, text=True)


def figures(clients, directory):
    output, _ = clients.communicate()
    if clients.returncode != 0:
        fail(f"the clients could not send: see {directory}/relay.log")
    return json.loads(output.splitlines()[-1])
