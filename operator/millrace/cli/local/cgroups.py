"""One cgroup root per node: kubelets that share a root kill each other's pods as orphans."""

from __future__ import annotations

import contextlib
from pathlib import Path

from millrace.cli.local.settings import Cluster
from millrace.cli.local.waiting import NotYet, wait_for

_ROOT = Path("/sys/fs/cgroup")


def ensure_cgroup(cluster: Cluster, node: str) -> None:
    for hierarchy in hierarchies(_ROOT):
        outer = hierarchy / cluster.cgroup
        for folder in (outer, outer / node):
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)
            _delegate(folder)


def hierarchies(root: Path) -> list[Path]:
    """The mounted controllers' folders of cgroup v1, or the one folder of v2."""
    if (root / "cgroup.controllers").exists():
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified")


def remove_cgroups(cluster: Cluster, node: str = "") -> None:
    """Removes the cluster's groups, or those below one node; their processes must have been killed."""
    for hierarchy in [*hierarchies(_ROOT), _ROOT / "unified"]:  # a hybrid machine's runtime uses that one too
        top = hierarchy / cluster.cgroup / node
        if top.is_dir():
            wait_for(f"cgroup {top} to be empty", lambda top=top: _remove_tree(top), 10, "Run `millrace local down` again.")  # type: ignore[misc]


def _remove_tree(top: Path) -> None:
    for folder in sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
    try:
        top.rmdir()
    except FileNotFoundError:
        return
    except OSError as busy:
        raise NotYet(str(busy)) from busy


def _inherit_cpuset(folder: Path) -> None:
    """A new v1 cpuset is empty, and nothing may join an empty one."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own, parent = folder / name, folder.parent / name
        if own.exists() and parent.exists() and not own.read_text().strip():
            own.write_text(parent.read_text())


def _delegate(folder: Path) -> None:
    """On v2 a controller works in a group only when every group above hands it down."""
    controllers = folder / "cgroup.controllers"
    if controllers.exists():
        wanted = " ".join(f"+{name}" for name in controllers.read_text().split())
        (folder / "cgroup.subtree_control").write_text(wanted)
