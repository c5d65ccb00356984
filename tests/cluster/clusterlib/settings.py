"""Every address, version and name of the test cluster, in one place.

Nothing else in this package writes an address or a version down. The ranges
are chosen not to meet those that home routers, container engines and cloud
networks hand out first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# --- versions -------------------------------------------------------------

KUBERNETES = "v1.34.4"


@dataclass(frozen=True)
class GoProgram:
    """A program that `go install` builds from the Go module proxy."""

    name: str
    package: str
    version: str
    #: Variables set by the linker, so that the program tells its own version.
    variables: tuple[tuple[str, str], ...] = ()


GO_PROGRAMS: tuple[GoProgram, ...] = (
    GoProgram("local-path-provisioner", "github.com/rancher/local-path-provisioner", "v0.0.30"),
    GoProgram("coredns", "github.com/coredns/coredns", "v1.14.6"),
    GoProgram("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", "v2.1.0"),
    GoProgram(
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        "v3.21.4",
        (("helm.sh/helm/v3/internal/version.version", "v3.21.4"),),
    ),
)

#: The names under which the one multi-call binary of `components/` is linked.
MULTICALL = "kubernetes"
MULTICALL_NAMES: tuple[str, ...] = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

#: Debian package → a file that shows the package (or its like) is there.
DEBIAN_PACKAGES: dict[str, tuple[str, ...]] = {
    "containerd": ("/usr/bin/containerd", "/usr/local/bin/containerd"),
    "runc": ("/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"),
    "containernetworking-plugins": ("/usr/lib/cni/bridge",),
    "iptables": ("/usr/sbin/iptables", "/sbin/iptables"),
    "conntrack": ("/usr/sbin/conntrack",),
    "ipset": ("/usr/sbin/ipset", "/sbin/ipset"),
    "iproute2": ("/usr/sbin/ip", "/sbin/ip", "/bin/ip"),
    "busybox-static": ("/usr/share/doc/busybox-static",),
    "openssl": ("/usr/bin/openssl",),
    "gcc": ("/usr/bin/gcc",),
    "libc6-dev": ("/usr/lib/x86_64-linux-gnu/libc.a", "/usr/lib/aarch64-linux-gnu/libc.a"),
}

# --- network --------------------------------------------------------------

POD_BRIDGE = "cni0"
POD_CIDR = "10.244.0.0/24"
#: The cluster-wide range; the only node gets its first /24, which is POD_CIDR.
CLUSTER_CIDR = "10.244.0.0/16"
#: The host's own address on the pod bridge: node IP, API server, DNS.
HOST_ADDRESS = "10.244.0.1"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
KUBELET_PORT = 10250
#: Answers NXDOMAIN for whatever no zone holds; loopback only.
NXDOMAIN_PORT = 10153

#: Host-side network on which tests put mail servers outside the cluster.
PEER_BRIDGE = "mx0"
PEER_CIDR = "10.250.0.0/24"
PEER_HOST_ADDRESS = "10.250.0.1"

# --- names ----------------------------------------------------------------

NODE_NAME = "mailrelay-node"
#: As whom the API server asks servers of further APIs.
FRONT_PROXY = "front-proxy"
CONTAINERD_NAMESPACE = "k8s.io"
CGROUP = "mailrelay-cluster"
#: Comment of each iptables rule that this harness adds itself.
RULE_COMMENT = "mailrelay-cluster"
#: Environment variable carried by each process of a cluster. Its value is the
#: state directory. `down` finds by it a process that was started but whose
#: record was never written, because the harness was killed in between.
OWNER_VARIABLE = "MAILRELAY_CLUSTER_OWNER"
#: Whose requests the API server writes down, in `logs/audit.log`: ServiceAccounts of the namespaces that
#: tests install the operator into.
AUDITED_NAMESPACES: tuple[str, ...] = ("mailrelay-system", "mailrelay-tenant")
PAUSE_IMAGE = "mailrelay.test/cluster/pause:1"
BUSYBOX_IMAGE = "mailrelay.test/cluster/busybox:1"
PROVISIONER_NAMESPACE = "local-path-storage"
PROVISIONER = "rancher.io/local-path"
STORAGE_CLASS = "local-path"

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CNI_PLUGINS = "/usr/lib/cni"


@dataclass(frozen=True)
class Paths:
    """Where one cluster keeps its things.

    `state` is small (sockets, certificates, logs, zones). `data` is large
    (images, volumes, etcd) and stands apart because `/run` is commonly a small
    tmpfs mounted noexec.
    """

    state: Path
    data: Path

    @staticmethod
    def from_environment() -> Paths:
        """The directories that the environment names, or the defaults."""
        state = os.environ.get("MAILRELAY_CLUSTER_STATE", "/run/mailrelay-cluster")
        data = os.environ.get("MAILRELAY_CLUSTER_DATA", "/var/lib/mailrelay-cluster")
        return Paths(Path(state).absolute(), Path(data).absolute())

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.state / "config"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        """One JSON line per request of the operator (audit.k8s.io/v1, level Metadata)."""
        return self.logs / "audit.log"

    @property
    def processes(self) -> Path:
        """One record per started process."""
        return self.state / "processes"

    @property
    def zones(self) -> Path:
        """RFC 1035 zone files named `db.<zone>`, served by CoreDNS."""
        return self.state / "zones"

    @property
    def complete(self) -> Path:
        """Exists once the cluster has been seen ready."""
        return self.state / "complete"

    @property
    def containerd_socket(self) -> Path:
        """containerd's own socket, apart from one that the machine may run."""
        return self.state / "containerd.sock"

    @property
    def containerd_state(self) -> Path:
        """Bundles of running containers, and their network namespaces."""
        return self.state / "containerd"

    @property
    def volumes(self) -> Path:
        """The directories behind persistent volumes."""
        return self.data / "volumes"
