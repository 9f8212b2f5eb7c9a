"""The machine's own programs that the cluster runs on, installed when they are missing and may be installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.programs import run

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Need:
    """A file that proves a Debian package is there."""

    package: str
    program: str


CLUSTER = (
    Need("containerd", "containerd"),
    Need("containerd", "ctr"),
    Need("runc", "runc"),
    Need("containernetworking-plugins", "/usr/lib/cni/ptp"),
    Need("conntrack", "conntrack"),
    Need("iptables", "iptables"),
    Need("iproute2", "ip"),
    Need("util-linux", "nsenter"),
    Need("busybox-static", "busybox"),
)
IMAGES = (Need("buildah", "buildah"), Need("mmdebstrap", "mmdebstrap"))


def check_machine() -> None:
    """What no package can give: Linux, root, and a cache that overlay file systems can be stacked on."""
    if not Path("/proc/self/ns/net").exists():
        raise LocalError("a local cluster needs Linux", "Use a cluster you have: millrace local up --context NAME.")
    if os.geteuid() != 0:
        raise LocalError(
            "a local cluster needs root: it makes namespaces, mounts and network links",
            "Run it as root (sudo -E millrace local up), or use a cluster you have: millrace local up --context NAME.",
        )


def missing(needs: Iterable[Need]) -> list[str]:
    return sorted({need.package for need in needs if find(need.program) is None})


def find(program: str) -> str | None:
    """Where a program is; administrators' folders count even when PATH leaves them out."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATH}")


def ensure_packages(needs: Iterable[Need]) -> None:
    packages = missing(needs)
    if not packages:
        return
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise LocalError(f"these Debian packages are missing: {' '.join(packages)}", "Install what your system calls them.")
    if os.geteuid() != 0:
        raise LocalError(f"these packages are missing: {' '.join(packages)}", f"Run: sudo {command}")
    _install(packages, f"Try it by hand: apt-get update && {command}")
    still = missing(needs)
    if still:
        raise LocalError(f"{' '.join(still)} installed, but its programs are not there", "Reinstall: apt-get install --reinstall")


def _install(packages: list[str], fix: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", *packages]
    try:
        run(install, what="install packages", fix=fix, seconds=600, env=environment)
    except LocalError:  # most often the lists of what there is are missing or old
        run(["apt-get", "update", "-q"], what="update the package lists", fix=fix, seconds=300, env=environment)
        run(install, what="install packages", fix=fix, seconds=600, env=environment)
