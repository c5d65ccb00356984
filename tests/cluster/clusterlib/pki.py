"""Keys, certificates and kubeconfigs. New with each fresh cluster."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import settings
from .settings import Paths

DAYS = 30


@dataclass(frozen=True)
class Identity:
    """A certificate: who it names and, for servers, where they are found."""

    name: str
    user: str
    group: str | None = None
    alternatives: tuple[str, ...] = ()


IDENTITIES: tuple[Identity, ...] = (
    Identity(
        "kube-apiserver",
        "kube-apiserver",
        alternatives=(
            f"IP:{settings.HOST_ADDRESS}",
            f"IP:{settings.API_SERVICE_ADDRESS}",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{settings.CLUSTER_DOMAIN}",
        ),
    ),
    Identity(
        "kubelet",
        f"system:node:{settings.NODE_NAME}",
        "system:nodes",
        (f"IP:{settings.HOST_ADDRESS}", f"DNS:{settings.NODE_NAME}"),
    ),
    Identity("admin", "mailrelay-admin", "system:masters"),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
    Identity("front-proxy", settings.FRONT_PROXY),
)

#: Identities that get a kubeconfig; `admin` gets the one that people use.
CLIENTS = ("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def create(paths: Paths) -> None:
    """Writes the authority, all certificates, and the kubeconfigs."""
    paths.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.pki.chmod(0o700)
    authority = ["-x509", "-new", "-subj", "/CN=mailrelay-cluster", "-days", str(DAYS)]
    _request(paths.pki, "ca", authority, paths.pki / "ca.crt")
    for identity in IDENTITIES:
        _sign(paths.pki, identity)
    # Tokens of service accounts are signed with a key of their own.
    _openssl(["genpkey", *KEY, "-out", str(paths.pki / "tokens.key")])
    _openssl(
        ["pkey", "-in", str(paths.pki / "tokens.key"), "-pubout"]
        + ["-out", str(paths.pki / "tokens.pub")]
    )
    for name in CLIENTS:
        _write_private(paths.config / f"{name}.kubeconfig", kubeconfig(paths.pki, name))
    _write_private(paths.kubeconfig, kubeconfig(paths.pki, "admin"))


KEY = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]


def kubeconfig(pki: Path, identity: str) -> str:
    """A kubeconfig (JSON is YAML) with everything in it, usable anywhere."""
    name = "mailrelay"

    def inline(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {
                    "name": name,
                    "cluster": {
                        "server": f"https://{settings.HOST_ADDRESS}:{settings.API_PORT}",
                        "certificate-authority-data": inline("ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": identity,
                    "user": {
                        "client-certificate-data": inline(f"{identity}.crt"),
                        "client-key-data": inline(f"{identity}.key"),
                    },
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": identity}}],
        },
        indent=2,
    )


def _sign(pki: Path, identity: Identity) -> None:
    subject = f"/CN={identity.user}"
    if identity.group:
        subject = f"/O={identity.group}{subject}"
    request = pki / f"{identity.name}.csr"
    _request(pki, identity.name, ["-new", "-subj", subject], request)
    extensions = ["keyUsage=digitalSignature", "extendedKeyUsage=clientAuth,serverAuth"]
    if identity.alternatives:
        extensions.append("subjectAltName=" + ",".join(identity.alternatives))
    file = pki / f"{identity.name}.ext"
    file.write_text("\n".join(extensions) + "\n", encoding="ascii")
    _openssl(
        ["x509", "-req", "-in", str(request), "-days", str(DAYS), "-CAcreateserial"]
        + ["-CA", str(pki / "ca.crt"), "-CAkey", str(pki / "ca.key")]
        + ["-extfile", str(file), "-out", str(pki / f"{identity.name}.crt")]
    )


def _request(pki: Path, name: str, options: list[str], output: Path) -> None:
    key = pki / f"{name}.key"
    _openssl(["genpkey", *KEY, "-out", str(key)])
    _openssl(["req", *options, "-key", str(key), "-out", str(output)])


def _openssl(arguments: list[str]) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")
