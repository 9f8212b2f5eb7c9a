"""What a cluster changes on the machine itself outside its own folders, remembered so that `down` can undo it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from millrace.cli.local.settings import Cluster, existing_clusters, replace_text, state_home

# Folder of a node -> where its programs look for it. The targets need only exist, as places to mount on.
NODE_FOLDERS = {"kubelet": "/var/lib/kubelet", "cni": "/var/lib/cni", "log": "/var/log"}
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def ensure_folder(folder: Path) -> None:
    if not folder.exists():
        replace_text(_record(f"made{str(folder).replace('/', '-')}"), str(folder))
        folder.mkdir(parents=True)


def ensure_forwarding() -> None:
    """Pods reach what is outside the machine only when it forwards packets."""
    if _FORWARDING.read_text().strip() == "0":
        replace_text(_record("forwarding-was-off"), "")
        _FORWARDING.write_text("1")


def undo(cluster: Cluster) -> None:
    """Undoes both, unless another cluster still relies on them."""
    if any(other.name != cluster.name for other in existing_clusters()):
        return
    for record in state_home().glob(".footprint/made-*"):
        with contextlib.suppress(OSError):  # something else has begun to use it
            Path(record.read_text()).rmdir()
        record.unlink()
    if _record("forwarding-was-off").exists():
        _FORWARDING.write_text("0")
        _record("forwarding-was-off").unlink()
    with contextlib.suppress(OSError):
        _record("").rmdir()


def _record(name: str) -> Path:
    return state_home() / ".footprint" / name
