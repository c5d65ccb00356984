"""Sees the running cluster do what the end-to-end tests rely on.

Each check is a sentence; the last line counts them. Everything happens in one
namespace that is deleted afterwards.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import dns, network, settings
from .api import ApiError
from .report import ClusterError, wait_for

if TYPE_CHECKING:
    from .lifecycle import Cluster

#: Seconds for a pod to start, or for a policy to take effect.
LIMIT = 120.0
#: Seconds a client in a pod waits for its answer.
CLIENT_LIMIT = 3
#: The user and group of a pod that satisfies the restricted profile.
UNPRIVILEGED = 65532
PEER_ADDRESS = "10.250.0.250"
PAGE = "written to a volume"


class SelfTest:
    """The checks, in order: later ones use what earlier ones have made."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.namespace = f"selftest-{secrets.token_hex(3)}"

    def checks(self) -> list[Callable[[], None]]:
        """All checks; the text of each is its docstring."""
        return [
            self.volume,
            self.service,
            self.logs,
            self.policy_denies,
            self.policy_removed,
            self.pod_security,
            self.test_zone,
            self.unknown_zone,
            self.peer,
        ]

    def prepare(self) -> None:
        """Makes the namespace, held to the restricted profile."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.api.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": labels},
            }
        )

        def account() -> bool:
            path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default"
            try:
                return bool(self.cluster.api.get(path))
            except ApiError:
                return False

        wait_for("the namespace's service account", account, LIMIT)

    def clean(self) -> None:
        """Deletes the namespace, and waits for that: volumes go with it."""
        subprocess.run(
            [self.cluster.cache.program("kubectl"), f"--kubeconfig={self.cluster.paths.kubeconfig}"]
            + ["delete", "namespace", self.namespace, "--timeout=120s"],
            capture_output=True,
            check=False,
        )

    # --- checks -----------------------------------------------------------

    def volume(self) -> None:
        """an unprivileged pod writes to a volume of the default class"""
        claim = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "16Mi"}},
        }
        self._apply("v1", "PersistentVolumeClaim", "data", claim)
        serve = f"echo {PAGE} > /data/index.html && exec httpd -f -vv -p 8080 -h /data"
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        mount = {"name": "data", "mountPath": "/data"}
        self._pod("server", ["sh", "-c", serve], volumes=[volume], mounts=[mount])
        self._await_running("server")

    def service(self) -> None:
        """a second pod reaches it through a Service by name, run by kubectl exec"""
        spec = {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]}
        self._apply("v1", "Service", "web", spec)
        self._pod("client", ["sleep", "100000"])
        self._await_running("client")
        wait_for("an answer from the Service", self._reachable, LIMIT)

    def logs(self) -> None:
        """kubectl logs shows what the pod has written"""
        done = self._kubectl("logs", "server")
        if "response:200" not in done.stdout:
            raise ClusterError(f"the request is not in the log: {done.stdout} {done.stderr}")

    def policy_denies(self) -> None:
        """a NetworkPolicy that denies all cuts the connection"""
        self.cluster.api.apply(self._policy())
        wait_for("the cut", lambda: not self._reachable(), LIMIT)

    def policy_removed(self) -> None:
        """its removal brings the connection back"""
        self.cluster.api.delete(self._policy())
        wait_for("the return", self._reachable, LIMIT)

    def pod_security(self) -> None:
        """the restricted profile refuses a privileged pod"""
        try:
            self._pod("privileged", ["true"], security={"privileged": True})
        except ApiError as error:
            if error.status == 403 and "restricted" in error.message:
                return
            raise
        raise ClusterError("the privileged pod was let in")

    def test_zone(self) -> None:
        """a zone file dropped into the zones folder is served to pods"""
        zone = f"{self.namespace}.test"
        file = self.cluster.paths.zones / f"db.{zone}"
        file.write_text(
            f"$ORIGIN {zone}.\n@ 5 IN SOA ns hostmaster 1 60 60 600 5\n"
            f"@ 5 IN NS ns\nns 5 IN A {PEER_ADDRESS}\n@ 5 IN MX 10 mx\nmx 5 IN A {PEER_ADDRESS}\n",
            encoding="ascii",
        )
        try:
            wait_for(
                "the zone's address",
                lambda: PEER_ADDRESS in self._exec("nslookup", f"mx.{zone}").stdout,
                LIMIT,
            )
        finally:
            file.unlink()

    def unknown_zone(self) -> None:
        """a name in no zone is denied at once"""
        answer = dns.query(settings.HOST_ADDRESS, "mx.nowhere.example")
        if answer.rcode != "NXDOMAIN":
            raise ClusterError(f"the answer was {answer.rcode}")

    def peer(self) -> None:
        """an address of the outside network answers a pod, and goes again"""
        network.change_peer_address("add", PEER_ADDRESS)
        try:
            # Nobody listens there, so the answer of a present address is a refusal.
            tried = self._exec("nc", "-w", "2", PEER_ADDRESS, "9")
            if "refused" not in tried.stderr:
                raise ClusterError(f"no answer: {tried.stderr}")
        finally:
            network.change_peer_address("del", PEER_ADDRESS)

    # --- helpers ----------------------------------------------------------

    def _reachable(self) -> bool:
        url = f"http://web.{self.namespace}.svc.{settings.CLUSTER_DOMAIN}/"
        # Not `wget -T`: Debian's static busybox crashes on it.
        request = ["timeout", str(CLIENT_LIMIT), "wget", "-q", "-O-", url]
        return PAGE in self._exec(*request).stdout

    def _exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self._kubectl("exec", "client", "--", *command)

    def _kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                self.cluster.cache.program("kubectl"),
                f"--kubeconfig={self.cluster.paths.kubeconfig}",
                f"--namespace={self.namespace}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def _apply(self, version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app": name}}
        self.cluster.api.apply(
            {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        )

    def _pod(
        self,
        name: str,
        command: list[str],
        volumes: list[dict[str, Any]] | None = None,
        mounts: list[dict[str, Any]] | None = None,
        security: dict[str, Any] | None = None,
    ) -> None:
        restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        spec = {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": UNPRIVILEGED,
                "fsGroup": UNPRIVILEGED,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": settings.BUSYBOX_IMAGE,
                    "imagePullPolicy": "Never",
                    "command": command,
                    "volumeMounts": mounts or [],
                    "securityContext": security or restricted,
                }
            ],
            "volumes": volumes or [],
        }
        self._apply("v1", "Pod", name, spec)

    def _await_running(self, name: str) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"

        def ready() -> bool:
            conditions = self.cluster.api.get(path)["status"].get("conditions", [])
            return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

        wait_for(f"pod {name} ready", ready, LIMIT)

    def _policy(self) -> dict[str, Any]:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "deny", "namespace": self.namespace},
            "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
        }


def run(cluster: Cluster) -> int:
    """Runs all checks, prints one line for each, and returns the exit code."""
    if not cluster.is_up():
        print("cluster: not everything is running; run `cluster up`", file=sys.stderr)
        return 1
    test = SelfTest(cluster)
    passed = failed = 0
    try:
        test.prepare()
        for check in test.checks():
            try:
                check()
            except (ClusterError, ApiError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"FAILED  {check.__doc__}\n        {error}", flush=True)
            else:
                passed += 1
                print(f"ok      {check.__doc__}", flush=True)
    finally:
        test.clean()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
