"""Brings the cluster up, and starts and stops single components."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import build, commands, config, dns, images, network, packages, pki, settings, teardown
from .api import Api, ApiError
from .build import Cache
from .processes import Supervisor
from .report import ClusterError, step, wait_for
from .settings import Paths

#: Limits in seconds. Generous: other builds may hold the machine's cores.
COMPONENT_LIMIT = 120.0
NODE_LIMIT = 180.0
#: How long a component that is asked to stop may take before it is killed.
STOP_GRACE = 15.0


class Cluster:
    """One cluster on this machine: its paths, programs and processes."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.cache = Cache.current()
        self.supervisor = Supervisor(paths)
        self.api = Api(paths)
        self.commands = commands.all_commands(paths, self.cache)

    # --- whole cluster ----------------------------------------------------

    def up(self) -> None:
        """Starts the cluster, or what is missing of it, and waits until ready."""
        _require_root()
        with self._lock():
            packages.ensure()
            build.build(self.cache)
            if self.paths.complete.exists() and self._same_boot():
                self._revive()
                return
            if teardown.present(self.paths):
                step("clear the remains of an earlier cluster")
                teardown.run(self.paths)
            self._prepare()
            self._start_all()
            self.paths.complete.write_text(_boot(), encoding="ascii")
            step("the cluster is ready")

    def down(self) -> None:
        """Removes the cluster; nothing to do is no error."""
        _require_root()
        with self._lock():
            teardown.run(self.paths)
            step("the cluster is down")

    def is_up(self) -> bool:
        """Whether the cluster is complete and all its components run."""
        return self.paths.complete.exists() and all(map(self.supervisor.running, self.commands))

    # --- single components ------------------------------------------------

    def start(self, name: str) -> None:
        """Starts one component of a running cluster and waits until it serves."""
        self._require_known(name)
        with self._lock():
            if not self.paths.complete.exists():
                raise ClusterError("the cluster is down; run `cluster up`")
            self._launch(name)
            self._await(name)

    def stop(self, name: str, kill: bool) -> None:
        """Stops one component; its data stays."""
        self._require_known(name)
        with self._lock():
            self.supervisor.stop(name, kill, STOP_GRACE)

    def load_images(self, archives: list[Path]) -> None:
        """Imports docker or OCI archives into the node's image store."""
        for archive in archives:
            command = ["ctr", "--address", str(self.paths.containerd_socket)]
            command += ["--namespace", settings.CONTAINERD_NAMESPACE]
            command += ["images", "import", "--all-platforms", str(archive)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ClusterError(f"import of {archive} failed: {done.stderr.strip()}")

    def load_program(self, reference: str, program: Path) -> None:
        """Makes an image of one static program and imports it."""
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            archive.write_bytes(images.program_image(reference, program))
            self.load_images([archive])

    # --- steps of a start -------------------------------------------------

    def _prepare(self) -> None:
        step("write certificates and configuration")
        teardown.make_folder(self.paths.state, 0o755)
        teardown.make_folder(self.paths.data, 0o755)
        for folder in (self.paths.zones, self.paths.volumes, self.paths.config):
            folder.mkdir(parents=True, exist_ok=True)
        pki.create(self.paths)
        for name, text in config.files(self.paths).items():
            target = self.paths.config / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        network.create(self.paths)
        teardown.create_cgroups()

    def _start_all(self) -> None:
        step("start containerd, etcd and the API server")
        for name in ("containerd", "etcd", "kube-apiserver"):
            self._launch(name)
        self._await("containerd")
        self.load_images(self.cache.image_archives())
        self._await("kube-apiserver")
        step("start the node and the controllers")
        for name in ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self._launch(name)
        self._launch("coredns")
        for thing in base_objects():
            self._apply(thing)
        wait_for("the node object", lambda: self._node() is not None, NODE_LIMIT)
        # kube-router rewrites the filter table while it starts; a first sync of kube-proxy that
        # meets it fails, and was seen not to be tried again.
        self._await("kube-proxy")
        for name in ("kube-router", "local-path-provisioner"):
            self._launch(name)
        step("wait for the node, DNS and the packet filter")
        wait_for("a Ready node", self._node_ready, NODE_LIMIT)
        for name in self.commands:
            self._await(name)
        wait_for("the default service account", self._account_exists, COMPONENT_LIMIT)
        self.supervisor.require(*self.commands)

    def _revive(self) -> None:
        """Starts again whatever has ended since the cluster was complete."""
        network.create(self.paths)
        for name in self.commands:
            if not self.supervisor.running(name):
                step(f"start {name} again")
                self._launch(name)
        for name in self.commands:
            self._await(name)
        wait_for("a Ready node", self._node_ready, NODE_LIMIT)
        step("the cluster is ready (it was up already)")

    def _launch(self, name: str) -> None:
        command = self.commands[name]()
        self.supervisor.start(name, command.arguments, command.environment)

    def _await(self, name: str) -> None:
        probe = self._probes().get(name, lambda: True)

        def alive_and_serving() -> bool:
            self.supervisor.require(name)
            return probe()

        wait_for(f"{name} in service", alive_and_serving, COMPONENT_LIMIT)

    def _probes(self) -> dict[str, Callable[[], bool]]:
        return {
            "containerd": self._containerd_answers,
            "etcd": lambda: _http(f"http://127.0.0.1:{settings.ETCD_PORT}/health"),
            "kube-apiserver": self.api.ready,
            "kubelet": lambda: _http("http://127.0.0.1:10248/healthz"),
            "kube-proxy": network.services_routed,
            "kube-router": network.policies_enforced,
            "coredns": self._dns_answers,
        }

    # --- observations -----------------------------------------------------

    def _containerd_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.connect(str(self.paths.containerd_socket))
        return True

    def _dns_answers(self) -> bool:
        name = f"kubernetes.default.svc.{settings.CLUSTER_DOMAIN}"
        return dns.query(settings.HOST_ADDRESS, name).records > 0

    def _node(self) -> Any:
        try:
            return self.api.get(f"/api/v1/nodes/{settings.NODE_NAME}")
        except ApiError:
            return None

    def _node_ready(self) -> bool:
        self.supervisor.require("kubelet", "kube-apiserver", "containerd")
        node = self._node()
        return node is not None and is_ready(node)

    def _account_exists(self) -> bool:
        try:
            self.api.get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError:
            return False
        return True

    def _apply(self, thing: dict[str, Any]) -> None:
        def applied() -> bool:
            try:
                self.api.apply(thing)
            except ApiError as error:
                # A namespace made a moment ago may not be seen everywhere yet.
                raise OSError(str(error)) from error
            return True

        wait_for(f"{thing['kind']} {thing['metadata']['name']}", applied, COMPONENT_LIMIT)

    def _require_known(self, name: str) -> None:
        if name not in self.commands:
            raise ClusterError(f"no component {name}; there are: {', '.join(self.commands)}")

    def _same_boot(self) -> bool:
        return self.paths.complete.read_text(encoding="ascii") == _boot()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One change of the cluster at a time; beside the state, which goes."""
        path = self.paths.state.with_name(self.paths.state.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def is_ready(node: dict[str, Any]) -> bool:
    """Whether a node is Ready, free of start-up taints, and has its range."""
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    spec = node.get("spec", {})
    return ready and not spec.get("taints") and bool(spec.get("podCIDR"))


def base_objects() -> list[dict[str, Any]]:
    """The objects that every cluster of this kind holds."""
    namespace = settings.PROVISIONER_NAMESPACE
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "name": "local-path-provisioner-service-account",
                "namespace": namespace,
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "local-path-config", "namespace": namespace},
            "data": {
                "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
                "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": settings.STORAGE_CLASS,
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": "true",
                    # `local` volumes honour fsGroup, as a real disk's do.
                    "defaultVolumeType": "local",
                },
            },
            "provisioner": settings.PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
        *_dns_service(),
    ]


def _dns_service() -> list[dict[str, Any]]:
    """The conventional name and address of cluster DNS, leading to the host."""
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "clusterIP": settings.DNS_SERVICE_ADDRESS,
                "ports": [
                    {"name": name, "port": 53, "targetPort": 53, "protocol": protocol}
                    for name, protocol in ports
                ],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [settings.HOST_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": name, "port": 53, "protocol": protocol} for name, protocol in ports],
        },
    ]


def _http(url: str) -> bool:
    # No proxy: an address of this host is never to be asked of another one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=2) as response:
        return bool(response.status == 200)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("this needs root: it makes bridges, mounts and containers")
