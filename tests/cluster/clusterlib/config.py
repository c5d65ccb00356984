"""Renders the configuration files of all components. Pure: no input but paths."""

from __future__ import annotations

import json
from typing import Any

from . import settings
from .settings import Paths


def files(paths: Paths) -> dict[str, str]:
    """All configuration files, by their name in the `config` folder."""
    return {
        "containerd.toml": containerd(paths),
        "cni/10-mailrelay.conflist": cni(paths),
        "audit.json": _json(audit()),
        "kubelet.json": _json(kubelet(paths)),
        "kube-proxy.json": _json(kube_proxy(paths)),
        "Corefile": corefile(paths),
        "local-path.json": _json(provisioner(paths)),
        "helper-pod.json": _json(helper_pod()),
        "resolv.conf": f"nameserver {settings.HOST_ADDRESS}\n",
    }


def containerd(paths: Paths) -> str:
    """containerd's own settings, away from a containerd of the machine's."""
    return f"""\
version = 2
root = "{paths.data}/containerd"
state = "{paths.containerd_state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{paths.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{paths.data}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{settings.PAUSE_IMAGE}"
  # Where the capability to lower it is missing, every sandbox fails otherwise.
  restrict_oom_score_adj = true
  # `down` finds and unmounts them there.
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{settings.CNI_PLUGINS}"
  conf_dir = "{paths.config}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "{paths.state}/runc"
"""


def cni(paths: Paths) -> str:
    """One bridge, addresses from the node's range, host ports.

    No masquerading: all that a pod can reach is this host, which knows the way
    back, so outside mail servers see the pod's own address.
    """
    bridge = {
        "type": "bridge",
        "bridge": settings.POD_BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{paths.state}/addresses",
            "ranges": [[{"subnet": settings.POD_CIDR, "gateway": settings.HOST_ADDRESS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return _json({"cniVersion": "1.0.0", "name": "mailrelay", "plugins": [bridge, port_map]})


def audit() -> dict[str, Any]:
    """What the operator asks of the API server is written down; of others, nothing."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "Metadata",
                "userGroups": [
                    f"system:serviceaccounts:{name}" for name in settings.AUDITED_NAMESPACES
                ],
            },
            {"level": "None"},
        ],
    }


def kubelet(paths: Paths) -> dict[str, Any]:
    """The kubelet's settings.

    `syncFrequency` keeps its default of a minute on purpose: a test that sees
    a Secret arrive sooner sees what a user would see too.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.HOST_ADDRESS,
        "port": settings.KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{paths.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{paths.pki}/kubelet.key",
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [settings.HOST_ADDRESS],
        "clusterDomain": settings.CLUSTER_DOMAIN,
        "resolvConf": f"{paths.config}/resolv.conf",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "4s",
        # A small or full disk of a developer's is no reason to evict.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        # Images come from no registry, so one collected would never come back.
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": f"{paths.data}/pod-logs",
        "volumePluginDir": f"{paths.data}/volume-plugins",
    }


def kube_proxy(paths: Paths) -> dict[str, Any]:
    """kube-proxy on iptables, leaving the kernel's connection limits alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": settings.NODE_NAME,
        "clusterCIDR": settings.CLUSTER_CIDR,
        "clientConnection": {"kubeconfig": f"{paths.config}/kube-proxy.kubeconfig"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [settings.POD_CIDR],
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def corefile(paths: Paths) -> str:
    """CoreDNS: the cluster's names, the tests' zones, and a prompt no to the rest.

    There is nobody to forward to. A query that no plugin answers would end in
    SERVFAIL, which resolvers and mail servers take for a fault worth retrying;
    so it goes to a second server, on loopback, which denies every name.
    """
    nothing = ". 5 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 5"
    return f"""\
. {{
    bind {settings.HOST_ADDRESS}
    errors
    kubernetes {settings.CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {paths.kubeconfig}
        pods insecure
        ttl 5
        fallthrough in-addr.arpa
    }}
    auto {{
        directory {paths.zones} ^db\\.(.+)$ {{1}}
        reload 1s
    }}
    forward . 127.0.0.1:{settings.NXDOMAIN_PORT} {{
        max_fails 0
    }}
}}

.:{settings.NXDOMAIN_PORT} {{
    bind 127.0.0.1
    template ANY ANY {{
        rcode NXDOMAIN
        authority "{nothing}"
    }}
}}
"""


def provisioner(paths: Paths) -> dict[str, Any]:
    """The volume provisioner: every volume is a directory on this host."""
    return {
        "nodePathMap": [
            {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(paths.volumes)]}
        ]
    }


def helper_pod() -> dict[str, Any]:
    """The pod that makes and removes a volume's directory."""
    container = {
        "name": "helper-pod",
        "image": settings.BUSYBOX_IMAGE,
        "imagePullPolicy": "Never",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {"priorityClassName": "system-node-critical", "containers": [container]},
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
