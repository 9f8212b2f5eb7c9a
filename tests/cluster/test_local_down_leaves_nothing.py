"""`millrace local` on the real machine: a cluster works, is continued, survives its nodes, and goes without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.local,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a local cluster needs root"),
]
MOUNTPOINTS = (Path("/var/lib/kubelet"), Path("/var/lib/cni"))


@dataclass(frozen=True)
class Trace:
    """What of a machine a cluster could leave changed, other than files below its own folders."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    rules: tuple[str, ...]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    sysctls: tuple[str, ...]
    folders: tuple[bool, ...]


def trace(ignore: str) -> Trace:
    """The machine now, without what belongs to other clusters (their bridges and groups) that run beside this test."""
    return Trace(
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(path.name for path in Path("/sys/class/net").iterdir() if ignore in path.name),
        routes=frozenset(line for line in output("ip", "route").splitlines() if ignore in line),
        rules=tuple(line for line in output("iptables-save").splitlines() if "-A" in line and "KUBE" in line),
        cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("*/millrace-trace*")),
        namespaces=frozenset(os.listdir("/run/netns")) if Path("/run/netns").exists() else frozenset(),
        sysctls=tuple(Path(f"/proc/sys/{name}").read_text() for name in ("vm/overcommit_memory", "kernel/panic")),
        folders=tuple(path.exists() for path in MOUNTPOINTS),
    )


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
