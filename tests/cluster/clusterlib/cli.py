"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import build, network, packages, selftest
from .lifecycle import Cluster
from .report import ClusterError, step
from .settings import Paths

DESCRIPTION = """\
A real single-node Kubernetes for the end-to-end tests, built from packages.
Progress goes to standard error; standard output is the answer alone.
"""

DOWN = "the cluster is down; run `cluster up`"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # What follows `kubectl` is not ours to parse, its options least of all.
    rest = words[1:] if words[:1] == ["kubectl"] else []
    options = _parser().parse_args(words[: len(words) - len(rest)])
    options.rest = rest
    cluster = Cluster(Paths.from_environment())
    try:
        return int(options.run(cluster, options) or 0)
    except (ClusterError, subprocess.CalledProcessError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_subparsers(required=True, metavar="COMMAND").add_parser

    def plain(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = add(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    plain("build", _build, "build whatever is not cached yet; print the folder of programs")
    plain("up", _up, "start the cluster, wait until it is ready; print the kubeconfig's path")
    plain("down", _down, "end and remove the cluster")
    plain("status", _status, "list the components; exit 1 unless all of them run")
    plain("kubeconfig", _kubeconfig, "print the kubeconfig's path")
    load = plain("load-image", _load_image, "import docker or OCI archives into the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="FILE.tar")
    program = plain("load-program", _load_program, "make an image of one static program, import it")
    program.add_argument("reference", metavar="NAME:TAG")
    program.add_argument("program", type=Path, metavar="FILE")
    plain("kubectl", _kubectl, "run kubectl, with all further arguments, on the cluster")
    program = plain("bin", _bin, "print the path of a built program (kubectl, helm, …)")
    program.add_argument("name", metavar="NAME")
    logs = plain("logs", _logs, "print a component's log")
    logs.add_argument("name", metavar="COMPONENT")
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing")
    stop = plain("stop", _stop, "stop one component, keeping its data")
    stop.add_argument("name", metavar="COMPONENT")
    stop.add_argument("--kill", action="store_true", help="SIGKILL at once")
    start = plain("start", _start, "start a stopped component and wait until it serves")
    start.add_argument("name", metavar="COMPONENT")
    address = plain("address", _address, "add or delete an address for an outside mail server")
    address.add_argument("action", choices=["add", "del"])
    address.add_argument("address", metavar="10.250.0.N")
    plain("selftest", _selftest, "see the running cluster at work")
    return parser


def _build(cluster: Cluster, _: argparse.Namespace) -> None:
    packages.ensure()
    build.build(cluster.cache)
    step("everything is built")
    print(cluster.cache.programs)


def _up(cluster: Cluster, _: argparse.Namespace) -> None:
    cluster.up()
    print(cluster.paths.kubeconfig)


def _down(cluster: Cluster, _: argparse.Namespace) -> None:
    cluster.down()


def _status(cluster: Cluster, _: argparse.Namespace) -> int:
    for name in cluster.commands:
        process = cluster.supervisor.find(name)
        alive = process is not None and process.alive()
        print(f"{name:26} {f'running, pid {process.pid}' if process and alive else 'stopped'}")
    return 0 if cluster.is_up() else 1


def _kubeconfig(cluster: Cluster, _: argparse.Namespace) -> None:
    if not cluster.paths.kubeconfig.exists():
        raise ClusterError(DOWN)
    print(cluster.paths.kubeconfig)


def _load_image(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.load_images(options.archives)


def _load_program(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.load_program(options.reference, options.program)


def _kubectl(cluster: Cluster, options: argparse.Namespace) -> None:
    program = cluster.cache.program("kubectl")
    if not cluster.paths.kubeconfig.exists():
        raise ClusterError(DOWN)
    environment = {**os.environ, "KUBECONFIG": str(cluster.paths.kubeconfig)}
    os.execve(program, ["kubectl", *options.rest], environment)


def _bin(cluster: Cluster, options: argparse.Namespace) -> None:
    print(cluster.cache.program(options.name))


def _logs(cluster: Cluster, options: argparse.Namespace) -> None:
    log = cluster.paths.logs / f"{options.name}.log"
    if not log.exists():
        raise ClusterError(f"there is no log of {options.name}")
    sys.stdout.flush()
    arguments = ["tail", "-n", "+1", *(["-F"] if options.follow else []), str(log)]
    os.execvp("tail", arguments)


def _stop(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.stop(options.name, options.kill)


def _start(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.start(options.name)


def _address(_: Cluster, options: argparse.Namespace) -> None:
    network.change_peer_address(options.action, options.address)


def _selftest(cluster: Cluster, _: argparse.Namespace) -> int:
    return selftest.run(cluster)
