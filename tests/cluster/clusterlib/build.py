"""Builds the cluster's programs and images once per set of versions.

Each result is made under a temporary name and renamed into place, so whatever
has its final name is whole: an interrupted build goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import images, settings
from .report import ClusterError, step
from .settings import GoProgram

FOLDER = Path(__file__).resolve().parent.parent
COMPONENTS = FOLDER / "components"
PAUSE_SOURCE = FOLDER / "images" / "pause.c"

#: Compilations at once: the machines that run this have two cores.
GO_PARALLELISM = 2

#: How the folders of results that are not whole yet begin.
PARTIAL = "partial-"


def cache_key(versions: Sequence[str], sources: Sequence[bytes]) -> str:
    """The cache folder's name: Kubernetes' version, then all that goes in."""
    digest = hashlib.sha256()
    for part in [version.encode() for version in versions] + list(sources):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return f"{versions[0]}-{digest.hexdigest()[:12]}"


def current_key() -> str:
    """The key of what this checkout builds."""
    versions = [settings.KUBERNETES]
    versions += [f"{each.package}@{each.version}" for each in settings.GO_PROGRAMS]
    versions += [settings.PAUSE_IMAGE, settings.BUSYBOX_IMAGE]
    sources = [COMPONENTS / name for name in ("go.mod", "go.sum", "main.go")]
    return cache_key(versions, [path.read_bytes() for path in [*sources, PAUSE_SOURCE]])


class Cache:
    """The built programs and images of one set of versions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = root / "bin"
        self.images = root / "images"

    @staticmethod
    def current() -> Cache:
        """The cache of this checkout's versions, built or not."""
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Cache(Path(home) / "mailrelay" / "cluster" / current_key())

    def program(self, name: str) -> str:
        """The path of a built program."""
        path = self.programs / name
        if not path.exists():
            raise ClusterError(f"{name} is not built; run `cluster build`")
        return str(path)

    def image_archives(self) -> list[Path]:
        """The images that the cluster itself needs."""
        return [self.images / "pause.tar", self.images / "busybox.tar"]

    def complete(self) -> bool:
        """Whether nothing is left to build."""
        names = [each.name for each in settings.GO_PROGRAMS] + list(settings.MULTICALL_NAMES)
        paths = [self.programs / name for name in names] + self.image_archives()
        return all(path.exists() for path in paths)


def build(cache: Cache) -> None:
    """Builds what is missing. Two builds at once wait for each other."""
    if cache.complete():
        return
    if shutil.which("go") is None:
        raise ClusterError("go is not on PATH; it is needed to build the cluster's programs")
    cache.programs.mkdir(parents=True, exist_ok=True)
    cache.images.mkdir(parents=True, exist_ok=True)
    with open(cache.root / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache.root.glob(f"{PARTIAL}*"):
            # Of a build that was killed: none else runs while the lock is held.
            shutil.rmtree(leftover)
        _build_images(cache)
        for program in settings.GO_PROGRAMS:
            _install(cache, program)
        _build_multicall(cache)


def _build_images(cache: Cache) -> None:
    pause, busybox = cache.image_archives()
    if not pause.exists():
        step("build image pause")
        with _workspace(cache) as folder:
            image = images.pause_image(settings.PAUSE_IMAGE, PAUSE_SOURCE, folder)
            _place(folder, image, pause)
    if not busybox.exists():
        step("build image busybox")
        with _workspace(cache) as folder:
            image = images.busybox_image(settings.BUSYBOX_IMAGE, Path("/bin/busybox"))
            _place(folder, image, busybox)


def _place(folder: Path, content: bytes, target: Path) -> None:
    partial = folder / target.name
    partial.write_bytes(content)
    partial.rename(target)


def _install(cache: Cache, program: GoProgram) -> None:
    target = cache.programs / program.name
    if target.exists():
        return
    step(f"build {program.name} {program.version}")
    with _workspace(cache) as folder:
        arguments = ["install", "-ldflags", linker_flags(program.variables)]
        _go([*arguments, f"{program.package}@{program.version}"], folder, {"GOBIN": str(folder)})
        (folder / program.name).rename(target)


def _build_multicall(cache: Cache) -> None:
    target = cache.programs / settings.MULTICALL
    if not target.exists():
        step(f"build Kubernetes {settings.KUBERNETES} (some minutes when nothing is cached)")
        major, minor, _ = settings.KUBERNETES.removeprefix("v").split(".")
        version = "k8s.io/component-base/version"
        variables = [
            (f"{version}.gitVersion", settings.KUBERNETES),
            (f"{version}.gitMajor", major),
            (f"{version}.gitMinor", minor),
        ]
        with _workspace(cache) as folder:
            partial = folder / settings.MULTICALL
            flags = ["-ldflags", linker_flags(variables), "-o", str(partial)]
            _go(["build", "-mod=readonly", *flags, "."], COMPONENTS, {})
            partial.rename(target)
    for name in settings.MULTICALL_NAMES:
        link = cache.programs / name
        if not link.is_symlink():
            link.symlink_to(settings.MULTICALL)


def linker_flags(variables: Sequence[tuple[str, str]]) -> str:
    """Go's linker flags: no debug tables, and the given string variables."""
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables)])


def _go(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    """Runs the Go tool at low priority: other builds share the machine."""
    everything = {
        **os.environ,
        # Static programs: they also run inside an image made from nothing.
        "CGO_ENABLED": "0",
        "GOFLAGS": f"-buildvcs=false -trimpath -p={GO_PARALLELISM}",
        "GOWORK": "off",
        **environment,
    }
    command = ["nice", "-n", "5", "go", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=everything, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        closing = "\n".join(done.stderr.splitlines()[-20:])
        raise ClusterError(f"`{' '.join(command)}` failed:\n{closing}")


@contextmanager
def _workspace(cache: Cache) -> Iterator[Path]:
    # On the cache's own file system, where a rename is atomic.
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=cache.root) as folder:
        yield Path(folder)
