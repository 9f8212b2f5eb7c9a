"""A node's life: made of files and namespaces, killed in one stroke, started again as after a power cut."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from millrace.cli.local import cgroups, footprint, image_store, network, node_files, pki, processes
from millrace.cli.local.archives import Image
from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import Cluster, Options, node_name, replace_text
from millrace.cli.local.waiting import NotYet, wait_for

ROUTER = "router"
_SOCKET_PATH_LIMIT = 98  # the kernel takes 107, and containerd makes a second socket of a longer name


def folder(cluster: Cluster, number: int) -> Path:
    return cluster.state / node_name(number)


def image_root(cluster: Cluster, number: int) -> Path:
    """Below the cache, because hard links do not cross file systems."""
    return cluster.cache / "nodes" / cluster.name / node_name(number)


def socket(cluster: Cluster, number: int) -> Path:
    return folder(cluster, number) / "containerd.sock"


def prepare(cluster: Cluster, number: int) -> None:
    """Gives a node that was never started its images. A node that was is left as it is, as a machine that boots again."""
    done = folder(cluster, number) / "images-linked"
    if not done.exists():
        image_store.link_root(image_root(cluster, number))
        replace_text(done, "")


def start(cluster: Cluster, options: Options, number: int, binary: Path, sandbox: Image) -> None:
    """Starts the node unless it runs; returns before it is Ready."""
    name = node_name(number)
    if _is_connected(cluster, name):
        return
    cgroups.ensure_cgroup(cluster, name)
    pki.ensure_node_kubeconfig(cluster, name)
    _write_files(cluster, options, number, binary, sandbox)
    socket(cluster, number).unlink(missing_ok=True)
    _launch(cluster, name, binary, network.node_link(cluster, number), cluster.node_address(number))


def start_router(cluster: Cluster, binary: Path) -> None:
    """A namespace with kube-proxy and nothing else: through it this machine reaches services, whichever nodes are down."""
    if _is_connected(cluster, ROUTER):
        return
    proxy = _process(cluster, ROUTER, "kube-proxy", [str(binary), *_proxy(cluster, node_name(1))])
    config = node_files.init_config(ROUTER, [], [proxy], network=True)
    replace_text(cluster.state / ROUTER / "init.json", config)
    _launch(cluster, ROUTER, binary, network.node_link(cluster, 0), cluster.router_address)


def stop(cluster: Cluster, number: int) -> None:
    """Kills the node's every process by SIGKILL, as a power cut would."""
    processes.stop(cluster, node_name(number), signal.SIGKILL)
    cgroups.remove_cgroups(cluster, node_name(number))


def _launch(cluster: Cluster, name: str, binary: Path, link: str, address: str) -> None:
    processes.stop(cluster, name, signal.SIGKILL)
    pid = processes.spawn(cluster, name, [binary, "node", "--config", cluster.state / name / "init.json"])

    def probe() -> int:
        processes.require_running(cluster, name)
        return _child(pid)

    init = wait_for(f"{name} to have its namespaces", probe, 10, "Run `millrace local down`, then up again.", every=0.02)
    network.connect(cluster, init, link, address)
    replace_text(cluster.state / name / "connected", str(pid))


def _child(pid: int) -> int:
    """The node's first process. Go's runtime tries out how it starts processes by a short-lived one, which is no node."""
    for child in processes.children(pid):
        if _network_of(child) not in {None, _network_of(pid)}:
            return child
    raise NotYet("it has not started its first process")


def _network_of(pid: int) -> str | None:
    """The network namespace that a process is in; None when it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except (FileNotFoundError, ProcessLookupError):
        return None


def _is_connected(cluster: Cluster, name: str) -> bool:
    """Whether the node runs and has its network: one whose start was cut off in between would wait for it for ever."""
    pid = processes.running(cluster, name)
    record = cluster.state / name / "connected"
    return pid is not None and record.exists() and record.read_text() == str(pid)


def _write_files(cluster: Cluster, options: Options, number: int, binary: Path, sandbox: Image) -> None:
    name, place = node_name(number), folder(cluster, number)
    if len(str(socket(cluster, number))) > _SOCKET_PATH_LIMIT:
        raise LocalError(f"{socket(cluster, number)} is too long for a socket", "Set MILLRACE_STATE to a shorter path.")
    config = node_files.containerd_config(image_root(cluster, number), place, sandbox.tag)
    replace_text(place / "containerd.toml", config)
    replace_text(place / "cni-config" / "10-millrace.conflist", node_files.cni_config(cluster, number))
    replace_text(place / "kubelet.yaml", node_files.kubelet_config(cluster, place, name))
    programs = _programs(cluster, options, number, binary)
    replace_text(place / "init.json", node_files.init_config(name, _mounts(place), programs, network=True))


def _mounts(place: Path) -> list[tuple[Path, str]]:
    """Folders that programs name absolutely, each the node's own, and the machine's limits as the kubelet wants them."""
    mounts = [(place / own, target) for own, target in footprint.NODE_FOLDERS.items()]
    for source, target in mounts:
        source.mkdir(parents=True, exist_ok=True)
        footprint.ensure_folder(Path(target))
    for name, value in node_files.TUNABLES.items():
        file = place / "tunables" / name.replace("/", "-")
        replace_text(file, f"{value}\n")
        mounts.append((file, f"/proc/sys/{name}"))
    return mounts


def _programs(cluster: Cluster, options: Options, number: int, binary: Path) -> list[dict[str, Any]]:
    name, place, program = node_name(number), folder(cluster, number), str(binary)
    kubelet = [program, "kubelet", *node_files.kubelet_flags(cluster, place, number, options)]
    programs = [
        _process(cluster, name, "containerd", image_store.containerd_argv(place / "containerd.toml")),
        _process(cluster, name, "kubelet", kubelet, str(socket(cluster, number))),
        _process(cluster, name, "kube-proxy", [program, *_proxy(cluster, name)]),
    ]
    if options.simulate:
        resources = ",".join(f"{resource}={count}" for resource, count in options.simulate)
        devices = [program, "simulated-devices", f"--resources={resources}"]
        ready = "/var/lib/kubelet/device-plugins/kubelet.sock"
        programs.append(_process(cluster, name, "simulated-devices", devices, ready))
    return programs


def _proxy(cluster: Cluster, node: str) -> list[str]:
    return ["kube-proxy", *node_files.proxy_flags(cluster, node)]


def _process(cluster: Cluster, node: str, name: str, argv: list[str], wait_for_path: str = "") -> dict[str, Any]:
    return {"name": name, "argv": argv, "log": str(cluster.logs / f"{node}-{name}.log"), "waitFor": wait_for_path}
