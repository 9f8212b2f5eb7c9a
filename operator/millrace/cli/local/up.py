"""`millrace local up`: the steps in order, each of which does nothing where it was done before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from millrace.cli.local import addons, builds, control_plane, image_store, kueue, network, node, packages, pki, processes
from millrace.cli.local.api import open_api
from millrace.cli.local.archives import Image, ensure_busybox
from millrace.cli.local.images import ensure_image
from millrace.cli.local.progress import Steps
from millrace.cli.local.settings import Cluster, Options, check_not_foreign, node_name, save_options
from millrace.cli.local.waiting import NotYet, wait_for

_NODE_SECONDS = 120.0


@dataclass(frozen=True)
class Programs:
    """Where the built programs are."""

    kubernetes: Path
    coredns: Path
    kwok: Path | None
    kueue: kueue.Built | None


def up(cluster: Cluster, options: Options, images: Sequence[str] = ()) -> None:
    steps = Steps(8 + len(images))
    with steps.step("Checking the machine and its packages"):
        packages.check_machine()
        check_not_foreign(cluster)
        processes.end_strays(cluster)
        packages.ensure_packages(packages.CLUSTER)
    with steps.step("Building Kubernetes, DNS and Helm (minutes, the first time)"):
        programs = build_programs(options.kwok, options.kueue)
    built = [ensure_busybox()]
    for name in images:
        with steps.step(f"Building image {name}"):
            built.append(ensure_image(name))
    with steps.step("Unpacking images"):
        image_store.ensure_imported(built, programs.kubernetes, built[0])
    with steps.step("Preparing network and certificates"):
        save_options(cluster, options)
        pki.ensure_pki(cluster)
        network.ensure_bridge(cluster)
    with steps.step("Starting the control plane"):
        _start_control_plane(cluster, options, programs)
    with steps.step("Starting nodes"):
        _start_nodes(cluster, options, programs, built[0])
    with steps.step("Loading images that running nodes lack"):
        _load_missing(cluster, options, built)
    with steps.step("Waiting for nodes and DNS"):
        wait_nodes(cluster, options)
        addons.wait_dns(cluster)
        if programs.kueue:
            kueue.wait_kueue(cluster)


def build_programs(with_kwok: bool, with_kueue: bool) -> Programs:
    kubernetes = builds.ensure_kubernetes()
    builds.ensure_tool(builds.HELM)
    coredns = builds.ensure_tool(builds.COREDNS)
    kwok = builds.ensure_tool(builds.KWOK) if with_kwok else None
    return Programs(kubernetes, coredns, kwok, kueue.build() if with_kueue else None)


def add_kueue(cluster: Cluster, options: Options) -> None:
    """Starts Kueue in a cluster that runs; later `up`s start it too."""
    steps = Steps(2)
    with steps.step("Building Kueue (minutes, the first time)"):
        built = kueue.build()
    with steps.step("Starting Kueue"):
        save_options(cluster, replace(options, kueue=True))
        kueue.ensure_kueue(cluster, built)
        kueue.wait_kueue(cluster)


def _start_control_plane(cluster: Cluster, options: Options, programs: Programs) -> None:
    with ThreadPoolExecutor() as pool:  # linking images is for the disk, starting servers for the processor
        linked = [pool.submit(node.prepare, cluster, number) for number in range(1, options.nodes + 1)]
        control_plane.ensure_api(cluster, programs.kubernetes)
        control_plane.ensure_controllers(cluster, programs.kubernetes)
        addons.apply_manifests(cluster, cluster.bin / "kubectl")
        addons.ensure_provisioner(cluster, programs.kubernetes)
        addons.ensure_dns(cluster, programs.coredns)
        if programs.kwok:
            addons.ensure_kwok(cluster, programs.kwok)
        if programs.kueue:
            kueue.ensure_kueue(cluster, programs.kueue)
        for link in linked:
            link.result()


def _start_nodes(cluster: Cluster, options: Options, programs: Programs, sandbox: Image) -> None:
    node.start_router(cluster, programs.kubernetes)
    for number in range(1, options.nodes + 1):
        node.start(cluster, options, number, programs.kubernetes, sandbox)


def _load_missing(cluster: Cluster, options: Options, images: Iterable[Image]) -> None:
    """Nodes that were running before have the images of that time."""
    for number in range(1, options.nodes + 1):
        image_store.wait_containerd(cluster, node_name(number), node.socket(cluster, number))
    load(cluster, options, images)


def load(cluster: Cluster, options: Options, images: Iterable[Image]) -> None:
    """Imports images into every running node that lacks them, all nodes at once."""
    wanted = list(images)
    running = [n for n in range(1, options.nodes + 1) if processes.running(cluster, node_name(n)) is not None]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_load_into, node.socket(cluster, number), wanted) for number in running]:
            done.result()


def _load_into(socket: Path, images: Iterable[Image]) -> None:
    held = image_store.held_images(socket)
    for image in images:
        if image.tag not in held:
            image_store.import_image(socket, image)


def wait_nodes(cluster: Cluster, options: Options) -> None:
    for number in range(1, options.nodes + 1):
        wait_node(cluster, options, number)


def wait_node(cluster: Cluster, options: Options, number: int) -> None:
    """Until the node is Ready and offers every simulated device."""
    name = node_name(number)
    api = open_api(cluster.kubeconfig)

    def probe() -> None:
        processes.require_running(cluster, name)
        api.text(f"/api/v1/nodes/{name}/proxy/healthz")  # a node that was just killed is still called Ready
        status = api.get(f"/api/v1/nodes/{name}")["status"]
        if not is_ready(status):
            raise NotYet("its condition Ready is not True")
        for resource, count in options.simulate:
            if int(status.get("allocatable", {}).get(resource, 0)) != count:
                raise NotYet(f"it does not offer {count} {resource}")

    wait_for(f"{name} to be Ready", probe, _NODE_SECONDS, f"Read {cluster.logs}/{name}-kubelet.log.")


def is_ready(status: dict[str, object]) -> bool:
    conditions = status.get("conditions") or []
    assert isinstance(conditions, list)
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
