"""The shape of a training pod: everything about it that follows from the instance type, the fabric and the placement.

Pure: the spec in, plain data out, so that tables of tests can say what each instance type leads to and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.api.v1alpha1.trainingjob import KubernetesTraining
from millrace_controllers.trainingjob.backends.kubernetes import fabric, placement, quantities
from millrace_controllers.trainingjob.backends.kubernetes.demand import (
    BadResources,
    Demand,
    UndocumentedInstanceType,
    UnknownInstanceType,
    demand,
)
from millrace_controllers.trainingjob.backends.kubernetes.placement import ContradictoryPlacement

__all__ = ["BadResources", "ContradictoryPlacement", "Shape", "UndocumentedInstanceType", "UnknownInstanceType", "shape"]

Object = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """What a pod template takes over as it is."""

    requests: dict[str, str]
    """Of the training container; quantities."""
    limits: dict[str, str]
    """Of the training container. CPU has none: it would only throttle, while idle CPU of the node is of use without it."""
    shared_memory: str
    """sizeLimit of the memory-backed emptyDir at /dev/shm; part of the memory limit."""
    env: dict[str, str]
    """Defaults of the training container; the user's variables go on top."""
    capabilities: tuple[str, ...]
    """To add in the training container's security context."""
    node_selector: dict[str, str]
    tolerations: tuple[Object, ...]
    affinity: Object
    """Empty when anywhere will do."""
    procs_per_node: int
    topology_keys: tuple[str, ...]
    """Labels that a node must have at all to take a pod of this group."""
    warnings: tuple[str, ...]
    """What will run but was probably not meant; plain sentences that do not change from pass to pass."""


def shape(spec: KubernetesTraining, *, avoid_nodes: Sequence[str] = (), labels: Mapping[str, str] | None = None) -> Shape:
    """The shape of each pod of an attempt.

    `avoid_nodes` are names of nodes to keep off; `labels` are labels that all pods of this attempt carry and no other pods of the
    namespace do. Raises UnknownInstanceType, UndocumentedInstanceType, ContradictoryPlacement and BadResources, all Terminal.
    """
    asked = demand(spec)
    procs = spec.procs_per_node or asked.ranks
    return Shape(
        requests=_requests(asked),
        limits=_limits(asked),
        shared_memory=quantities.memory(asked.shared),
        env=fabric.environment(asked),
        capabilities=fabric.capabilities(asked),
        node_selector=placement.node_selector(spec),
        tolerations=placement.tolerations(spec, asked),
        affinity=placement.affinity(spec, avoid_nodes, labels or {}),
        procs_per_node=procs,
        topology_keys=placement.topology_keys(spec),
        warnings=(*asked.warnings, *_fabric_warnings(spec, asked), *_procs_warnings(spec, asked, procs)),
    )


def _requests(asked: Demand) -> dict[str, str]:
    return {"cpu": quantities.cpu(asked.cpu), **_limits(asked)}


def _limits(asked: Demand) -> dict[str, str]:
    """Memory and devices: Kubernetes wants devices and huge pages to be requested as they are limited, and memory that is not
    would make the whole node's program the first to be killed."""
    devices = {
        "nvidia.com/gpu": asked.gpus,
        "aws.amazon.com/neuron": asked.neuron,
        "vpc.amazonaws.com/efa": asked.efa,
    }
    counted = {name: str(count) for name, count in devices.items() if count}
    pages = {"hugepages-2Mi": f"{asked.hugepages}Mi"} if asked.hugepages else {}
    return {"memory": quantities.memory(asked.memory), **counted, **pages}


def _fabric_warnings(spec: KubernetesTraining, asked: Demand) -> Iterator[str]:
    chosen = spec.fabric.efa if spec.fabric else None
    if chosen == "None" and asked.efa_possible and spec.nodes > 1:
        yield f"fabric.efa None leaves {_counted(asked.efa_possible, 'EFA device')} of each pod unused: its traffic goes over TCP"
    if chosen == "DevicePlugin" and asked.instance is not None and not asked.efa:
        yield f"{spec.instance_type} has no EFA devices: the pods talk over TCP"


def _procs_warnings(spec: KubernetesTraining, asked: Demand, procs: int) -> Iterator[str]:
    """A process drives one accelerator, so what has no process is paid for and idle."""
    unit = "NeuronCore" if asked.neuron else "GPU"
    if not asked.gpus and not asked.neuron:
        return
    if procs < asked.ranks:
        idle, total = (asked.ranks - procs) * spec.nodes, asked.ranks * spec.nodes
        share = f"{100 * idle / total:.1f}".rstrip("0").rstrip(".")
        yield f"procsPerNode {procs} uses {procs} of {asked.ranks} {unit}s of a pod: {idle} of {total} ({share} %) stay idle"
    if procs > asked.ranks:
        yield f"procsPerNode {procs} is more than the {_counted(asked.ranks, unit)} of a pod: processes share devices"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
