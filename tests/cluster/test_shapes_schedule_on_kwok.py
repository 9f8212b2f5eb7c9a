"""The real scheduler binds pods of the shape to nodes of the catalogue: that is what the shape is for.

The nodes are kwok's: plain Node objects with the capacity that the catalogue states, whose heartbeats kwok sends. A real kubelet
would rewrite CPU, memory and huge pages from the machine that it runs on.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from millrace.api.v1alpha1.trainingjob import KubernetesTraining
from millrace.data import instances
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.resources import NODES, PODS
from millrace_controllers.trainingjob.backends.kubernetes.shape import Shape, shape

pytestmark = pytest.mark.cluster

T = TypeVar("T")
Object = dict[str, Any]
NAMESPACE = "default"
MARK = "millrace.dev/test"
DEADLINE_SECONDS = 60.0
KWOK_TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
KWOK_TOLERATION = {"key": "kwok.x-k8s.io/node", "operator": "Equal", "value": "fake", "effect": "NoSchedule"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


@dataclass
class Bench:
    """Makes nodes and pods that belong to one test alone, and removes them."""

    client: Client
    mark: str
    made: list[tuple[Any, str | None, str]] = field(default_factory=list)

    async def node(self, instance_type: str, *, zone: str = "za", rack: str = "nn-1", **other: str) -> str:
        """A ready node as the catalogue describes it; `other` are resources that this one has in another amount."""
        name = f"{self.mark}-{len(self.made)}"
        await self.client.create(NODES, node_manifest(name, self.mark, instance_type, zone, rack, other))
        self.made.append((NODES, None, name))

        async def untainted() -> str | None:
            taints = (await self.client.get(NODES, None, name))["spec"].get("taints", [])
            return None if any(taint["key"] == "node.kubernetes.io/not-ready" for taint in taints) else name

        return await eventually(f"node {name} to lose the taint that every new node gets", untainted)

    def spec(self, instance_type: str, *, nodes: int = 2, **more: Any) -> KubernetesTraining:
        """A spec whose pods find the nodes of this test and no others."""
        placement = {"nodeSelector": {MARK: self.mark}, "tolerations": [KWOK_TOLERATION], **more.pop("placement", {})}
        return KubernetesTraining.model_validate(
            {"runtime": "nemo", "instanceType": instance_type, "nodes": nodes, "placement": placement, **more}
        )

    def shape(self, instance_type: str, *, avoid: tuple[str, ...] = (), **spec: Any) -> Shape:
        """The shape of that spec's pods."""
        return shape(self.spec(instance_type, **spec), avoid_nodes=avoid, labels={MARK: self.mark})

    async def pod(self, made: Shape) -> str:
        """A pod of the shape."""
        name = f"{self.mark}-{len(self.made)}"
        await self.client.create(PODS, pod_manifest(name, self.mark, made))
        self.made.append((PODS, NAMESPACE, name))
        return name

    async def bound(self, pod: str) -> str:
        """The node that the scheduler chose for the pod."""

        async def chosen() -> str | None:
            node: str | None = (await self.client.get(PODS, NAMESPACE, pod))["spec"].get("nodeName")
            return node

        return await eventually(f"pod {pod} to be bound to a node", chosen, lambda: self.said_of(pod))

    async def refused(self, pod: str, because: str) -> None:
        """The scheduler finds no node for the pod and names this reason, if not at once: it may first see a part of the nodes."""

        async def explained() -> bool | None:
            found = await self.client.get(PODS, NAMESPACE, pod)
            assert "nodeName" not in found["spec"], f"pod {pod} was bound to {found['spec']['nodeName']}"
            return because in await self.said_of(pod) or None

        await eventually(f"pod {pod} to be refused because of {because!r}", explained, lambda: self.said_of(pod))

    async def said_of(self, pod: str) -> str:
        """The scheduler's own words about a pod that it has not placed."""
        found = await self.client.get(PODS, NAMESPACE, pod)
        conditions = found["status"].get("conditions", [])
        return next((c["message"] for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), "")

    async def clean(self) -> None:
        for resource, namespace, name in reversed(self.made):
            # A pod on a node without a kubelet is never confirmed dead, so it is removed at once.
            await self.client.delete(resource, namespace, name, grace=0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Client(credentials.load()) as client:
        made = Bench(client, f"shape-{uuid.uuid4().hex[:8]}")
        try:
            yield made
        finally:
            await made.clean()


async def eventually(
    what: str, look: Callable[[], Awaitable[T | None]], explain: Callable[[], Awaitable[str]] | None = None
) -> T:
    """The first answer that is not None. Fails after the deadline and says what was waited for."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if (answer := await look()) is not None:
            return answer
        await asyncio.sleep(0.2)
    said = await explain() if explain is not None else ""
    pytest.fail(f"waited {DEADLINE_SECONDS:.0f} s for {what}; last heard: {said or 'nothing'}")


def node_manifest(name: str, mark: str, instance_type: str, zone: str, rack: str, other: dict[str, str]) -> Object:
    """A Node with the catalogue's figures, its EC2 labels and the taint that GPU nodes carry."""
    instance = instances.get(instance_type)
    capacity = {
        "cpu": f"{instance.allocatable_cpu}m",
        "memory": f"{instance.allocatable_memory}Mi",
        "pods": "110",
        "nvidia.com/gpu": str(instance.gpus),
        "vpc.amazonaws.com/efa": str(instance.efa),
        **other,
    }
    labels = {
        MARK: mark,
        "kubernetes.io/hostname": name,
        "kubernetes.io/arch": str(instance.architecture),
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/zone": zone,
        "topology.k8s.aws/network-node-layer-3": rack,
    }
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [KWOK_TAINT, GPU_TAINT]},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]},
    }


def pod_manifest(name: str, mark: str, made: Shape) -> Object:
    """A pod that takes over the shape as a training pod does."""
    container = {
        "name": "train",
        "image": "registry.k8s.io/pause:3.10",
        "env": [{"name": key, "value": value} for key, value in made.env.items()],
        "resources": {"requests": made.requests, "limits": made.limits},
        "securityContext": {"capabilities": {"drop": ["ALL"], "add": list(made.capabilities)}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {MARK: mark}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": made.shared_memory}}],
            "nodeSelector": made.node_selector,
            "tolerations": list(made.tolerations),
            "affinity": made.affinity,
        },
    }


@pytest.mark.parametrize("instance_type", ["p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge", "g5.xlarge", "g6e.48xlarge"])
@pytest.mark.proves("17.2")
async def test_two_pods_of_an_instance_type_take_two_nodes_of_it(bench: Bench, instance_type: str) -> None:
    nodes = {await bench.node(instance_type), await bench.node(instance_type)}
    made = bench.shape(instance_type, placement={"sameRack": "Required"})
    pods = [await bench.pod(made), await bench.pod(made)]
    assert {await bench.bound(pod) for pod in pods} == nodes


async def test_a_third_pod_finds_no_place_on_two_nodes(bench: Bench) -> None:
    for _ in range(2):
        await bench.node("p4de.24xlarge")
    made = bench.shape("p4de.24xlarge")
    for pod in [await bench.pod(made), await bench.pod(made)]:
        await bench.bound(pod)
    await bench.refused(await bench.pod(made), "2 Insufficient nvidia.com/gpu")


async def test_two_pods_keep_off_one_node_even_where_both_would_fit(bench: Bench) -> None:
    room = {"cpu": "64", "memory": "256Gi", "nvidia.com/gpu": "8"}
    await bench.node("g5.xlarge", **room)
    made = bench.shape("g5.xlarge")
    await bench.bound(await bench.pod(made))
    await bench.refused(await bench.pod(made), "didn't match pod anti-affinity rules")


async def test_a_node_with_half_of_its_efa_interfaces_does_not_take_the_pod(bench: Bench) -> None:
    await bench.node("p5.48xlarge", **{"vpc.amazonaws.com/efa": "16"})
    await bench.refused(await bench.pod(bench.shape("p5.48xlarge")), "Insufficient vpc.amazonaws.com/efa")


async def test_a_pod_that_asks_for_the_data_sheet_fits_on_no_node_of_the_type(bench: Bench) -> None:
    await bench.node("p5.48xlarge")
    instance = instances.get("p5.48xlarge")
    sheet = KubernetesTraining.model_validate(
        {
            "runtime": "nemo",
            "resources": {"cpu": str(instance.vcpus), "memory": f"{instance.memory_gib}Gi", "gpus": instance.gpus},
            "placement": {"nodeSelector": {MARK: bench.mark}, "tolerations": [KWOK_TOLERATION]},
        }
    )
    await bench.refused(await bench.pod(shape(sheet)), "1 Insufficient cpu, 1 Insufficient memory")


async def test_huge_pages_are_taken_from_those_that_the_node_set_aside(bench: Bench) -> None:
    node = await bench.node("p5.48xlarge", **{"hugepages-2Mi": "10256Mi"})
    made = bench.shape("p5.48xlarge", env=[{"name": "FI_EFA_USE_HUGE_PAGE", "value": "1"}])
    assert await bench.bound(await bench.pod(made)) == node


async def test_an_avoided_node_is_left_empty(bench: Bench) -> None:
    bad, good = await bench.node("g5.xlarge"), await bench.node("g5.xlarge")
    assert await bench.bound(await bench.pod(bench.shape("g5.xlarge", avoid=(bad,)))) == good


async def test_when_all_nodes_are_avoided_the_pod_waits(bench: Bench) -> None:
    bad = await bench.node("g5.xlarge")
    pod = await bench.pod(bench.shape("g5.xlarge", avoid=(bad,)))
    await bench.refused(pod, "didn't match Pod's node affinity/selector")


# label that differs between the two nodes, placement
APART = [
    pytest.param({"zone": "zb"}, {}, id="one zone is the default of an instance type"),
    pytest.param({"rack": "nn-2"}, {"sameRack": "Required"}, id="one rack was asked for"),
]


@pytest.mark.parametrize(("other", "placement"), APART)
async def test_the_second_pod_does_not_follow_to_another_zone_or_rack(
    bench: Bench, other: dict[str, str], placement: dict[str, str]
) -> None:
    await bench.node("g5.xlarge")
    await bench.node("g5.xlarge", **other)
    made = bench.shape("g5.xlarge", placement=placement)
    await bench.bound(await bench.pod(made))
    await bench.refused(await bench.pod(made), "didn't match pod affinity rules")


async def test_a_preferred_rack_does_not_keep_the_second_pod_waiting(bench: Bench) -> None:
    nodes = {await bench.node("g5.xlarge"), await bench.node("g5.xlarge", rack="nn-2")}
    made = bench.shape("g5.xlarge", placement={"sameRack": "Preferred"})
    pods = [await bench.pod(made), await bench.pod(made)]
    assert {await bench.bound(pod) for pod in pods} == nodes
