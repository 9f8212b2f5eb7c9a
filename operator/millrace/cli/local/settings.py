"""Where a local cluster keeps things and which addresses it uses: every path, port and subnet is derived here.

Clusters of different names get different slots, hence different ports, subnets and interfaces, and may run side by side.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from millrace.cli.local.errors import LocalError

SLOTS = 8
MAX_NODES = 32
KUBERNETES_VERSION = "v1.34.4"
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
_RESOURCE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def state_home() -> Path:
    """The folder of all local clusters' running state."""
    return Path(os.environ.get("MILLRACE_STATE") or Path.home() / ".local/state/millrace") / "local"


def cache_home() -> Path:
    """The folder of what is slow to make and safe to delete while no cluster runs."""
    return Path(os.environ.get("MILLRACE_CACHE") or Path.home() / ".cache/millrace")


def repository() -> Path:
    """The checkout that holds images/, needed to build programs and images."""
    start = Path(os.environ.get("MILLRACE_REPO") or __file__).resolve()
    for folder in (start, *start.parents):
        if (folder / "images" / "local-cluster" / "go.mod").is_file():
            return folder
    raise LocalError(
        "the local cluster is built from a checkout of the repository, and this millrace is not in one",
        "Clone the repository and run `millrace local` there, or set MILLRACE_REPO to the checkout.",
    )


@dataclass(frozen=True)
class Options:
    """What a person chooses about a cluster; kept in its state so that a repeated `up` continues the same one."""

    nodes: int = 2
    simulate: tuple[tuple[str, int], ...] = ()
    instance_type: str = "p5.48xlarge"
    zone: str = "us-east-1a"
    kwok: bool = False
    kueue: bool = False


@dataclass(frozen=True)
class Cluster:
    """One local cluster: its name, its slot and everything that follows from them."""

    name: str
    slot: int
    state: Path
    cache: Path

    @property
    def bridge(self) -> str:
        return f"millrace{self.slot}"

    @property
    def network(self) -> str:
        return f"10.{112 + self.slot}.0.0/16"

    @property
    def host_address(self) -> str:
        """This machine's address on the cluster's own bridge: it does not depend on the machine's networks."""
        return f"10.{112 + self.slot}.0.1"

    @property
    def router_address(self) -> str:
        return f"10.{112 + self.slot}.0.2"

    def node_address(self, number: int) -> str:
        return f"10.{112 + self.slot}.1.{number}"

    @property
    def pod_network(self) -> str:
        return f"10.{244 - self.slot}.0.0/16"

    def pod_subnet(self, number: int) -> str:
        return f"10.{244 - self.slot}.{number}.0/24"

    @property
    def service_network(self) -> str:
        return f"10.{96 + self.slot}.0.0/16"

    @property
    def service_address(self) -> str:
        return f"10.{96 + self.slot}.0.1"

    @property
    def dns_address(self) -> str:
        return f"10.{96 + self.slot}.0.10"

    def port(self, base: int) -> int:
        """The port that slot 0 gives as `base`; the ports of one component are 100 apart between slots."""
        return base + 100 * self.slot

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.port(6443)}"

    @property
    def node_api_url(self) -> str:
        return f"https://{self.host_address}:{self.port(6443)}"

    @property
    def etcd_url(self) -> str:
        return f"https://127.0.0.1:{self.port(2379)}"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def cgroup(self) -> str:
        return f"millrace-{self.name}"

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def options_file(self) -> Path:
        return self.state / "cluster.json"


def node_name(number: int) -> str:
    return f"node-{number}"


def node_number(cluster_nodes: int, name: str) -> int:
    """The number in a node's name, checked against the nodes that the cluster has."""
    names = {node_name(number): number for number in range(1, cluster_nodes + 1)}
    if name not in names:
        raise LocalError(f"the cluster has no node {name!r}", f"Name one of: {', '.join(names)}.")
    return names[name]


def parse_simulate(text: str) -> tuple[tuple[str, int], ...]:
    """Reads `nvidia.com/gpu=8,vpc.amazonaws.com/efa=32`, sorted by name; an empty text is none."""
    found: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, count = part.partition("=")
        if not _RESOURCE.fullmatch(name) or not count.isdigit():
            raise LocalError(
                f"--simulate: {part!r} is not DOMAIN/NAME=COUNT",
                "Write for example --simulate nvidia.com/gpu=8,vpc.amazonaws.com/efa=32.",
            )
        found[name] = int(count)
    return tuple(sorted(found.items()))


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise LocalError(
            f"{name!r} cannot name a cluster",
            "Use at most 20 of a-z, 0-9 and -, starting with a letter and not ending with -.",
        )
    return name


def check_nodes(nodes: int) -> int:
    if not 1 <= nodes <= MAX_NODES:
        raise LocalError(f"--nodes {nodes}: real nodes on one machine must number 1 to {MAX_NODES}", "For more, use --kwok.")
    return nodes


def open_cluster(name: str) -> Cluster:
    """The cluster of that name; one that has no state yet gets the lowest slot that no other cluster holds."""
    state = state_home() / check_name(name)
    slot = _recorded_slot(state)
    return Cluster(name, _free_slot() if slot is None else slot, state, cache_home())


def check_not_foreign(cluster: Cluster) -> None:
    """A cluster of that name may run with another MILLRACE_STATE: what this machine holds once must not be shared.

    Control groups in which nothing runs are what one left that was killed and whose state is gone: they are in nobody's way.
    """
    groups = (Path("/sys/fs/cgroup/memory", cluster.cgroup), Path("/sys/fs/cgroup", cluster.cgroup))  # v1, v2
    if load_options(cluster) is None and any(_is_populated(group) for group in groups):
        raise LocalError(
            f"a cluster {cluster.name} of another user or another MILLRACE_STATE exists on this machine",
            "Choose another name (--name NAME), or take that one down with its own MILLRACE_STATE.",
        )


def _is_populated(group: Path) -> bool:
    """Whether a process is in a control group or below it."""
    return any(listed.read_text().strip() for listed in group.rglob("cgroup.procs"))


def existing_clusters() -> list[Cluster]:
    """Every cluster that has been started and not taken down completely."""
    found = []
    for record in sorted(state_home().glob("*/cluster.json")):
        slot = _recorded_slot(record.parent)
        if slot is not None:
            found.append(Cluster(record.parent.name, slot, record.parent, cache_home()))
    return found


def _recorded_slot(state: Path) -> int | None:
    try:
        return int(json.loads((state / "cluster.json").read_text())["slot"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _free_slot() -> int:
    taken = {cluster.slot for cluster in existing_clusters()}
    taken |= {slot for slot in range(SLOTS) if Path(f"/sys/class/net/millrace{slot}").exists()}  # of another state home
    for slot in range(SLOTS):
        if slot not in taken:
            return slot
    raise LocalError(f"{SLOTS} local clusters exist already, which is the most", "Take one down: millrace local down --name NAME")


def load_options(cluster: Cluster) -> Options | None:
    """What the cluster was last started with; None when it was never started."""
    try:
        record = json.loads(cluster.options_file.read_text())
        record["simulate"] = tuple((name, count) for name, count in record["simulate"])
        record.pop("slot")
        return Options(**record)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def save_options(cluster: Cluster, options: Options) -> None:
    cluster.state.mkdir(parents=True, exist_ok=True)
    replace_text(cluster.options_file, json.dumps({"slot": cluster.slot, **asdict(options)}, indent=2))


def merge_options(recorded: Options | None, asked: Mapping[str, object]) -> Options:
    """The options of this `up`. What a started cluster cannot change while it runs is refused, not ignored."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    merged = replace(recorded or Options(), **wanted)  # type: ignore[arg-type]
    check_nodes(merged.nodes)
    if recorded is None:
        return merged
    if merged.nodes < recorded.nodes:
        raise LocalError(f"the cluster has {recorded.nodes} nodes and none is taken away", _RESTART)
    for field in ("simulate", "instance_type", "zone"):
        if getattr(merged, field) != getattr(recorded, field):
            raise LocalError(f"the cluster was started with another --{field.replace('_', '-')}", _RESTART)
    return merged


_RESTART = "Run `millrace local down` first, then `millrace local up` with the new options."


def replace_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file so that a crash leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.replace(path)
