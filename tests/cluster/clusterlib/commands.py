"""The command line of each component. Pure: paths in, arguments out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import settings
from .build import Cache
from .settings import Paths


@dataclass(frozen=True)
class Command:
    """How to start one component."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def all_commands(paths: Paths, cache: Cache) -> dict[str, Callable[[], Command]]:
    """Each component's command, in the order of a start."""
    return {
        "containerd": lambda: _containerd(paths),
        "etcd": lambda: _etcd(paths, cache),
        "kube-apiserver": lambda: _apiserver(paths, cache),
        "kubelet": lambda: _kubelet(paths, cache),
        "kube-controller-manager": lambda: _controller_manager(paths, cache),
        "kube-scheduler": lambda: _scheduler(paths, cache),
        "kube-proxy": lambda: _proxy(paths, cache),
        "coredns": lambda: _coredns(paths, cache),
        "local-path-provisioner": lambda: _provisioner(paths, cache),
        "kube-router": lambda: _router(paths, cache),
    }


def _containerd(paths: Paths) -> Command:
    return Command(["containerd", "--config", f"{paths.config}/containerd.toml"])


def _etcd(paths: Paths, cache: Cache) -> Command:
    client = f"http://127.0.0.1:{settings.ETCD_PORT}"
    peer = f"http://127.0.0.1:{settings.ETCD_PEER_PORT}"
    return Command(
        [
            cache.program("etcd"),
            f"--data-dir={paths.data}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # The cluster is made anew after a power cut anyway.
            "--unsafe-no-fsync",
        ]
    )


def _apiserver(paths: Paths, cache: Cache) -> Command:
    pki = paths.pki
    issuer = f"https://kubernetes.default.svc.{settings.CLUSTER_DOMAIN}"
    return Command(
        [
            cache.program("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{settings.ETCD_PORT}",
            f"--bind-address={settings.HOST_ADDRESS}",
            f"--advertise-address={settings.HOST_ADDRESS}",
            f"--secure-port={settings.API_PORT}",
            f"--tls-cert-file={pki}/kube-apiserver.crt",
            f"--tls-private-key-file={pki}/kube-apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
            f"--service-account-issuer={issuer}",
            f"--service-account-key-file={pki}/tokens.pub",
            f"--service-account-signing-key-file={pki}/tokens.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            # For APIs that others serve, such as metrics for autoscalers.
            f"--requestheader-client-ca-file={pki}/ca.crt",
            f"--requestheader-allowed-names={settings.FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
            "--profiling=false",
            f"--audit-policy-file={paths.config}/audit.json",
            f"--audit-log-path={paths.audit_log}",
            # One file, never rotated: a run of all tests writes a few megabytes.
            "--audit-log-maxsize=1000",
        ]
    )


def _kubelet(paths: Paths, cache: Cache) -> Command:
    return Command(
        [
            cache.program("kubelet"),
            f"--config={paths.config}/kubelet.json",
            f"--kubeconfig={paths.config}/kubelet.kubeconfig",
            f"--root-dir={paths.data}/kubelet",
            f"--cert-dir={paths.pki}",
            f"--hostname-override={settings.NODE_NAME}",
            f"--node-ip={settings.HOST_ADDRESS}",
        ]
    )


def _controller_manager(paths: Paths, cache: Cache) -> Command:
    return Command(
        [
            cache.program("kube-controller-manager"),
            f"--kubeconfig={paths.config}/kube-controller-manager.kubeconfig",
            "--authentication-skip-lookup=true",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={paths.pki}/tokens.key",
            f"--root-ca-file={paths.pki}/ca.crt",
            f"--cluster-signing-cert-file={paths.pki}/ca.crt",
            f"--cluster-signing-key-file={paths.pki}/ca.key",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={settings.CLUSTER_CIDR}",
            "--node-cidr-mask-size=24",
            f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
            "--node-monitor-grace-period=20s",
            "--horizontal-pod-autoscaler-sync-period=3s",
            f"--flex-volume-plugin-dir={paths.data}/volume-plugins",
        ]
    )


def _scheduler(paths: Paths, cache: Cache) -> Command:
    return Command(
        [
            cache.program("kube-scheduler"),
            f"--kubeconfig={paths.config}/kube-scheduler.kubeconfig",
            "--authentication-skip-lookup=true",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ]
    )


def _proxy(paths: Paths, cache: Cache) -> Command:
    return Command([cache.program("kube-proxy"), f"--config={paths.config}/kube-proxy.json"])


def _coredns(paths: Paths, cache: Cache) -> Command:
    return Command([cache.program("coredns"), "-conf", f"{paths.config}/Corefile"])


def _provisioner(paths: Paths, cache: Cache) -> Command:
    namespace = settings.PROVISIONER_NAMESPACE
    return Command(
        [
            cache.program("local-path-provisioner"),
            "start",
            f"--kubeconfig={paths.kubeconfig}",
            f"--config={paths.config}/local-path.json",
            f"--provisioner-name={settings.PROVISIONER}",
            f"--namespace={namespace}",
            f"--helper-image={settings.BUSYBOX_IMAGE}",
            "--configmap-name=local-path-config",
            f"--helper-pod-file={paths.config}/helper-pod.json",
        ],
        {"NODE_NAME": settings.NODE_NAME, "POD_NAMESPACE": namespace},
    )


def _router(paths: Paths, cache: Cache) -> Command:
    return Command(
        [
            cache.program("kube-router"),
            f"--kubeconfig={paths.kubeconfig}",
            f"--hostname-override={settings.NODE_NAME}",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            "--run-firewall=true",
            f"--service-cluster-ip-range={settings.SERVICE_CIDR}",
            "--enable-cni=false",
            # It would listen on every address.
            "--health-port=0",
        ],
        {"NODE_NAME": settings.NODE_NAME},
    )
