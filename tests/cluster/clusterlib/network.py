"""Bridges, forwarding and the packet filter; putting them up and taking them down."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from pathlib import Path

from . import settings
from .report import ClusterError
from .settings import Paths

#: Kernel switches that the cluster needs, with the value needed.
SWITCHES: dict[str, str] = {
    "net/ipv4/ip_forward": "1",
    # Without it a Service's answer would cross the bridge untranslated.
    "net/bridge/bridge-nf-call-iptables": "1",
}

#: Chains and sets of these families are made by the components of a cluster.
CHAIN_PREFIXES = ("KUBE-", "CNI-")
SET_PREFIXES = ("KUBE-", "kube-router-", "inet6:KUBE-", "inet6:kube-router-")


def create(paths: Paths) -> None:
    """Makes both bridges, and lets pods through a filter that drops by default."""
    for bridge, address, network in (
        (settings.POD_BRIDGE, settings.HOST_ADDRESS, settings.POD_CIDR),
        (settings.PEER_BRIDGE, settings.PEER_HOST_ADDRESS, settings.PEER_CIDR),
    ):
        length = ipaddress.ip_network(network).prefixlen
        if not Path("/sys/class/net", bridge).exists():
            _ip("link", "add", bridge, "type", "bridge")
        _ip("address", "replace", f"{address}/{length}", "dev", bridge)
        _ip("link", "set", bridge, "up")
    _throw_switches(paths)
    for direction in ("-i", "-o"):
        rule = ["FORWARD", direction, settings.POD_BRIDGE, "-m", "comment"]
        rule += ["--comment", settings.RULE_COMMENT, "-j", "ACCEPT"]
        if subprocess.run(["iptables", "-w", "-C", *rule], capture_output=True).returncode != 0:
            # Appended: after the rules of kube-router, before a dropping policy.
            _run(["iptables", "-w", "-A", *rule])


def change_peer_address(action: str, address: str) -> None:
    """Adds or deletes an address on the network of outside mail servers."""
    network = ipaddress.ip_network(settings.PEER_CIDR)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise ClusterError(str(error)) from error
    if parsed not in network or address == settings.PEER_HOST_ADDRESS:
        raise ClusterError(f"{address} is not a free address of {network}")
    known = subprocess.run(
        ["ip", "-o", "address", "show", "dev", settings.PEER_BRIDGE, "to", address],
        capture_output=True,
        text=True,
        check=False,
    )
    if known.returncode != 0:
        raise ClusterError(f"there is no {settings.PEER_BRIDGE}; run `cluster up`")
    if action == "add" and not known.stdout:
        # /32, so that no address is "secondary" and vanishes with another.
        _ip("address", "add", f"{address}/32", "dev", settings.PEER_BRIDGE)
    elif action == "del" and known.stdout:
        _ip("address", "del", f"{address}/32", "dev", settings.PEER_BRIDGE)


def services_routed() -> bool:
    """Whether kube-proxy leads the API server's Service somewhere. Its health port says less."""
    command = ["iptables", "-w", "-t", "nat", "-S", "KUBE-SERVICES"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return "default/kubernetes:https" in shown.stdout


def policies_enforced() -> bool:
    """Whether kube-router has hooked itself into the packet filter."""
    command = ["iptables", "-w", "-S", "FORWARD"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return "KUBE-ROUTER-FORWARD" in shown.stdout


def destroy(paths: Paths) -> None:
    """Takes away all that `create` and the cluster's components have set up."""
    for command in ("iptables", "ip6tables"):
        _clean_filter(command)
    _clean_sets()
    for bridge in (settings.POD_BRIDGE, settings.PEER_BRIDGE):
        if Path("/sys/class/net", bridge).exists():
            _ip("link", "del", bridge)
    _restore_switches(paths)


def cleanup_script(saved: str) -> str:
    """Turns `iptables-save` output into input for `iptables-restore --noflush`.

    The result deletes the rules that the cluster put into other chains, then
    flushes and deletes the cluster's own chains. Empty when there is nothing.
    """
    script: list[str] = []
    for table, lines in _tables(saved).items():
        chains = [line[1:].split()[0] for line in lines if line.startswith(":")]
        own = [chain for chain in chains if chain.startswith(CHAIN_PREFIXES)]
        rules = [line for line in lines if line.startswith("-A ")]
        foreign = [rule for rule in rules if _is_ours(rule)]
        if own or foreign:
            script.append(f"*{table}")
            script += [f"-D {rule[3:]}" for rule in foreign]
            script += [f"-F {chain}" for chain in own]
            script += [f"-X {chain}" for chain in own]
            script.append("COMMIT")
    return "\n".join(script) + "\n" if script else ""


def _is_ours(rule: str) -> bool:
    """Whether a rule in a chain of somebody else's belongs to the cluster."""
    words = rule.split()
    if words[1].startswith(CHAIN_PREFIXES):
        return False
    jumps = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")]
    return (
        any(jump.startswith(CHAIN_PREFIXES) for jump in jumps)
        or settings.RULE_COMMENT in rule
        or "comply to network policies" in rule  # kube-router's closing rule
    )


def _tables(saved: str) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    current: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), [])
        elif line.startswith((":", "-A ")):
            current.append(line)
    return tables


def _clean_filter(command: str) -> None:
    if shutil.which(f"{command}-save", path=settings.SEARCH_PATH) is None:
        return
    saved = subprocess.run([f"{command}-save"], capture_output=True, text=True, check=False)
    script = cleanup_script(saved.stdout)
    if saved.returncode == 0 and script:
        _run([f"{command}-restore", "-w", "--noflush"], script)


def _clean_sets() -> None:
    if shutil.which("ipset", path=settings.SEARCH_PATH) is None:
        return
    listed = subprocess.run(["ipset", "list", "-n"], capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split() if name.startswith(SET_PREFIXES)]
    if names:
        _run(["ipset", "restore"], "".join(f"destroy {name}\n" for name in names))


def _throw_switches(paths: Paths) -> None:
    """Sets kernel switches, remembering once what they were."""
    memory = paths.state / "switches.json"
    before: dict[str, str] = {}
    for name, wanted in SWITCHES.items():
        file = Path("/proc/sys", name)
        if file.exists() and file.read_text(encoding="ascii").strip() != wanted:
            before[name] = file.read_text(encoding="ascii").strip()
    if not memory.exists():
        memory.write_text(json.dumps(before), encoding="utf-8")
    for name in before:
        Path("/proc/sys", name).write_text(SWITCHES[name], encoding="ascii")


def _restore_switches(paths: Paths) -> None:
    try:
        before = json.loads((paths.state / "switches.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return
    for name, value in before.items():
        if name in SWITCHES:
            Path("/proc/sys", name).write_text(str(value), encoding="ascii")


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: list[str], text: str | None = None) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
