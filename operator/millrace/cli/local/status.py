"""What runs and what does not, as data and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from millrace.cli.local import addons, control_plane, image_store, kueue, node, processes
from millrace.cli.local.api import open_api
from millrace.cli.local.settings import Cluster, Options, node_name
from millrace.cli.local.waiting import NotYet


@dataclass(frozen=True)
class Part:
    """One program or node: `state` is Running, Ready, NotReady, Stopped or Unreachable."""

    name: str
    state: str
    pid: int | None
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """A whole cluster; it is up when every part is."""

    name: str
    up: bool
    kubeconfig: str
    server: str
    parts: tuple[Part, ...]
    images: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(cluster: Cluster, options: Options) -> Status:
    parts = [_program(cluster, name) for name in _programs(options)]
    parts += [_node(cluster, number) for number in range(1, options.nodes + 1)]
    up = all(part.state in ("Running", "Ready") for part in parts)
    images = tuple(sorted(image_store.known_images().values()))
    return Status(cluster.name, up, str(cluster.kubeconfig), cluster.api_url, tuple(parts), images)


def table(status: Status) -> Table:
    shown = Table("part", "state", "pid", "detail", title=f"cluster {status.name}", title_justify="left", box=None)
    for part in status.parts:
        colour = "green" if part.state in ("Running", "Ready") else "red"
        shown.add_row(part.name, f"[{colour}]{part.state}[/{colour}]", str(part.pid or "-"), part.detail)
    return shown


def _programs(options: Options) -> list[str]:
    control = [program.name for program in control_plane.PROGRAMS]
    extras = [name for name, wanted in ((addons.KWOK, options.kwok), (kueue.KUEUE, options.kueue)) if wanted]
    return [*control, addons.COREDNS, addons.PROVISIONER, node.ROUTER, *extras]


def _program(cluster: Cluster, name: str) -> Part:
    pid = processes.running(cluster, name)
    return Part(name, "Running" if pid else "Stopped", pid, "" if pid else f"log: {cluster.logs}/{name}.log")


def _node(cluster: Cluster, number: int) -> Part:
    name = node_name(number)
    pid = processes.running(cluster, name)
    if pid is None:
        return Part(name, "Stopped", None, f"start it: millrace local node start {name}")
    try:
        found = open_api(cluster.kubeconfig).get(f"/api/v1/nodes/{name}")["status"]
    except (NotYet, OSError) as problem:
        return Part(name, "Unreachable", pid, str(problem)[:200])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in found.get("conditions", []))
    devices = {k: v for k, v in found.get("allocatable", {}).items() if "/" in k}
    detail = ", ".join([cluster.node_address(number), *(f"{name}={count}" for name, count in devices.items())])
    return Part(name, "Ready" if ready else "NotReady", pid, detail)
