"""Takes a cluster away without a trace, from whatever state it is in: also one that `up` left half made."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from millrace.cli.local import cgroups, control_plane, footprint, network, processes
from millrace.cli.local.errors import LocalError
from millrace.cli.local.progress import Steps
from millrace.cli.local.settings import Cluster
from millrace.cli.local.waiting import wait_for

_DELETE_SECONDS = 120.0


def down(cluster: Cluster) -> bool:
    """False when there was no such cluster. Logs stay; everything else goes."""
    if not cluster.options_file.exists():  # written before anything else is made, removed after everything else
        return False
    steps = Steps(4)
    with steps.step("Stopping nodes and control plane"):
        _stop_processes(cluster)
    with steps.step("Removing control groups"):
        cgroups.remove_cgroups(cluster)
    with steps.step("Removing the network"):
        network.remove_network(cluster)
    with steps.step("Removing data"):
        _remove_data(cluster)
    return True


def _stop_processes(cluster: Cluster) -> None:
    control = [program.name for program in reversed(control_plane.PROGRAMS)]
    for name in processes.recorded(cluster):
        if name not in control:
            processes.stop(cluster, name, signal.SIGKILL)
    for name in control:
        processes.stop(cluster, name, signal.SIGKILL)  # nothing of it is kept, so nothing need be written
    processes.wait_no_process(cluster)


def _remove_data(cluster: Cluster) -> None:
    remove_tree(cluster.cache / "nodes" / cluster.name)
    for entry in cluster.state.iterdir():
        if entry not in (cluster.logs, cluster.options_file):
            remove_tree(entry)
    footprint.undo(cluster)
    cluster.options_file.unlink(missing_ok=True)  # last: it is what makes the cluster exist


def remove_tree(path: Path) -> None:
    """Deletes a file or folder, and never through a mount: what is mounted below is somebody's data."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [mount for mount in mounts if Path(mount).is_relative_to(path)]
    if below:
        raise LocalError(f"{below[0]} is a mount below {path}", f"Run: umount {below[0]}, then `millrace local down`.")
    if path.is_dir() and not path.is_symlink():
        # The copying of images that an `up` began goes on for a while after that `up` was killed, and fills what is emptied.
        wait_for(f"{path} to be deleted", lambda: _emptied(path), _DELETE_SECONDS, "Run `millrace local down` again.", every=0.5)
    else:
        path.unlink(missing_ok=True)


def _emptied(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
