"""Debian packages that the cluster stands on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import settings
from .report import ClusterError, step


def missing() -> list[str]:
    """Packages of which no sign is found on this machine."""
    return [
        package
        for package, signs in settings.DEBIAN_PACKAGES.items()
        if not any(Path(sign).exists() for sign in signs)
    ]


def ensure() -> None:
    """Installs what is missing on Debian as root; names it otherwise."""
    absent = missing()
    if not absent:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"missing packages (Debian names): {' '.join(absent)}")
    step(f"install {' '.join(absent)}")
    _apt(["update", "-qq"])
    _apt(["install", "-y", "-qq", "--no-install-recommends", *absent])
    still = missing()
    if still:
        raise ClusterError(f"apt-get succeeded but these are not found: {' '.join(still)}")


def _apt(arguments: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another apt may hold the lock; wait for it within reason.
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        closing = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise ClusterError(f"`{' '.join(command)}` failed:\n{closing}")
