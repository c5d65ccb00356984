"""Container images written by hand, as `docker save` would write them.

Two images are all that the cluster itself needs, and each has one layer, so a
few lines of tar take the place of an image builder.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: All files of an image carry this time, so that equal input is equal output.
EPOCH = 0

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Entry:
    """One thing in a layer: a file, a link (`target` set) or a directory."""

    path: str
    content: bytes | None = None
    target: str | None = None
    mode: int = 0o755

    def header(self) -> tarfile.TarInfo:
        """The tar header of this entry."""
        header = tarfile.TarInfo(self.path)
        header.mtime = EPOCH
        header.mode = self.mode
        if self.target is not None:
            header.type, header.linkname = tarfile.SYMTYPE, self.target
        elif self.content is None:
            header.type = tarfile.DIRTYPE
        else:
            header.size = len(self.content)
        return header


def archive(reference: str, entries: Iterable[Entry], command: Sequence[str]) -> bytes:
    """A docker-archive holding one image of one layer."""
    layer = _tar(entries)
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), "amd64"),
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + _digest(layer)]},
        },
        sort_keys=True,
    ).encode()
    names = {"config": f"{_digest(config)}.json", "layer": f"{_digest(layer)}.tar"}
    manifest = [{"Config": names["config"], "RepoTags": [reference], "Layers": [names["layer"]]}]
    return _tar(
        [
            Entry(names["config"], config, mode=0o644),
            Entry(names["layer"], layer, mode=0o644),
            Entry("manifest.json", json.dumps(manifest).encode(), mode=0o644),
        ]
    )


def pause_image(reference: str, source: Path, workspace: Path) -> bytes:
    """The image of the container that holds a pod's namespaces."""
    program = workspace / "pause"
    subprocess.run(["gcc", "-Os", "-static", "-s", "-o", str(program), str(source)], check=True)
    return archive(reference, [Entry("pause", program.read_bytes())], ["/pause"])


def busybox_image(reference: str, busybox: Path) -> bytes:
    """A small userland: the volume provisioner's helper, and the self-test."""
    applets = subprocess.run(
        [str(busybox), "--list"], check=True, capture_output=True, text=True
    ).stdout.split()
    entries = [
        Entry("bin"),
        Entry("etc"),
        Entry("tmp", mode=0o1777),
        Entry("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", mode=0o644),
        Entry("etc/group", b"root:x:0:\n", mode=0o644),
        Entry("bin/busybox", busybox.read_bytes()),
    ]
    entries += [Entry(f"bin/{name}", target="busybox") for name in applets if name != "busybox"]
    return archive(reference, entries, ["/bin/sh"])


def program_image(reference: str, program: Path) -> bytes:
    """An image of one static program and nothing else."""
    return archive(reference, [Entry("program", program.read_bytes())], ["/program"])


def _tar(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            content = None if entry.content is None else io.BytesIO(entry.content)
            tar.addfile(entry.header(), content)
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
