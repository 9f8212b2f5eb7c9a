"""What one pod of a run asks of its node, in numbers: from the instance type, by hand, or the small default.

An instance type means the whole node. What is asked for is what a node can give to pods, less what the daemonsets of a training
cluster take, so that the pod fits on a real node and no second one of its kind does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from millrace.api.v1alpha1.trainingjob import KubernetesTraining, Resources
from millrace.data import instances
from millrace.data.instances import Instance, UnknownInstance
from millrace.engine.errors import Terminal
from millrace_controllers.trainingjob.backends.kubernetes.quantities import GIB, MIB, in_bytes, millicores

RESERVED_CPU = 900
"""Millicores kept free on a node. An estimate from the usual requests of what runs on every node of a training cluster on EKS:
aws-node 50, kube-proxy 100, EBS and FSx CSI 60, EFA plugin 10, node monitoring agent 10, CloudWatch agent 250, Fluent Bit 50,
DCGM exporter 250, sum 780; and 50 for the sidecar that reads metrics in the pod itself."""

RESERVED_MEMORY = 1024
"""MiB kept free on a node. The same daemonsets and the sidecar request some 650 MiB; the rest is room for one more."""

EFA_HUGEPAGES = 5128 * 2
"""MiB that the EFA driver takes for 2 MiB pages when a node starts. The kubelet subtracts them from the allocatable memory, which
the catalogue's figures do not know, whether a pod uses the pages or not."""

HUGEPAGES_REQUEST = 5120
"""MiB of 2 MiB pages that a pod with EFA asks for if it wants them, as in the EKS guide: all but a few of those above."""

LARGEST_SHARED_PART = (3, 4)
"""Largest part of a whole node's memory that /dev/shm may take: what is in it counts against the program's own limit."""


class UnknownInstanceType(Terminal):
    """spec.kubernetes.instanceType is not in the catalogue."""


class UndocumentedInstanceType(Terminal):
    """spec.kubernetes.instanceType is known, but nobody documents what its nodes can give to pods."""


class BadResources(Terminal):
    """The resources asked for by hand leave nothing to run with."""


@dataclass(frozen=True)
class Demand:
    """What one pod asks for. `memory` includes `shared`; both in bytes. `cpu` is in millicores, `hugepages` in MiB."""

    cpu: int
    memory: int
    shared: int
    gpus: int = 0
    neuron: int = 0
    ranks: int = 1
    """Processes that keep all accelerators of the pod busy; at least 1."""
    efa: int = 0
    efa_possible: int = 0
    """EFA devices that the node has and the spec could ask for."""
    hugepages: int = 0
    instance: Instance | None = None
    warnings: tuple[str, ...] = ()


def demand(spec: KubernetesTraining) -> Demand:
    """What a pod asks for. Raises UnknownInstanceType, UndocumentedInstanceType and BadResources."""
    if spec.instance_type is not None:
        asked = _whole_node(spec, look_up(spec.instance_type))
    else:
        asked = _by_hand(spec, spec.resources or Resources())
    return replace(asked, hugepages=HUGEPAGES_REQUEST if asked.efa and wants_hugepages(spec) else 0)


def look_up(name: str) -> Instance:
    """The catalogue's entry. Raises UnknownInstanceType, which names similar types."""
    try:
        return instances.get(name)
    except UnknownInstance as unknown:
        meant = f"did you mean {' or '.join(unknown.similar)}? Else give" if unknown.similar else "give"
        raise UnknownInstanceType(
            f"spec.kubernetes.instanceType {name} is not in the catalogue: {meant} `resources` instead of `instanceType`"
        ) from unknown


def wants_hugepages(spec: KubernetesTraining) -> bool:
    """Whether the user's own environment turns huge pages on. They are off by default: with them, data loaders that fork die."""
    return any(variable.name == "FI_EFA_USE_HUGE_PAGE" and variable.value == "1" for variable in spec.env or ())


def _whole_node(spec: KubernetesTraining, instance: Instance) -> Demand:
    cpu, memory = _allocatable(instance)
    shared, warnings = _shared_of_node(spec, memory)
    return Demand(
        cpu=cpu,
        memory=memory,
        shared=shared,
        gpus=instance.gpus,
        neuron=instance.neuron_devices,
        ranks=max(1, instance.gpus, instance.logical_neuron_cores),
        efa=_efa_of_node(spec, instance),
        efa_possible=instance.efa or 0,
        instance=instance,
        warnings=warnings,
    )


def _allocatable(instance: Instance) -> tuple[int, int]:
    """Millicores and bytes that one pod may have of a node to itself."""
    if instance.allocatable_cpu is None or instance.allocatable_memory is None:
        raise UndocumentedInstanceType(
            f"what a node of type {instance.name} can give to pods is not documented: give `resources` instead of `instanceType` "
            f"and choose the nodes by placement.nodeSelector node.kubernetes.io/instance-type: {instance.name}"
        )
    taken = RESERVED_MEMORY + (EFA_HUGEPAGES if instance.efa else 0)
    return instance.allocatable_cpu - RESERVED_CPU, (instance.allocatable_memory - taken) * MIB


def _efa_of_node(spec: KubernetesTraining, instance: Instance) -> int:
    """All EFA devices of the node or none. What the spec says counts; by default the pods of an accelerated group are joined by
    EFA, and a single pod has nobody to talk to: asking would only keep it off clusters without the device plugin."""
    wanted = spec.fabric.efa == "DevicePlugin" if spec.fabric else spec.nodes > 1 and instance.accelerated
    return (instance.efa or 0) if wanted else 0


def _shared_of_node(spec: KubernetesTraining, memory: int) -> tuple[int, tuple[str, ...]]:
    """Bytes of /dev/shm inside the node's memory, and what to say about them."""
    if spec.shared_memory_gib is None:
        return _half(memory), ()
    part, whole = LARGEST_SHARED_PART
    asked, largest = spec.shared_memory_gib * GIB, memory // MIB * part // whole * MIB
    if asked <= largest:
        return asked, ()
    said = f"sharedMemoryGiB {spec.shared_memory_gib} is cut to {largest // GIB}: it is part of the {memory // GIB} GiB of a pod"
    return largest, (said,)


def _by_hand(spec: KubernetesTraining, resources: Resources) -> Demand:
    """By hand `memory` is the program's; shared memory that is asked for comes on top, so that filling it kills nobody."""
    own = in_bytes(resources.memory)
    if own < MIB or millicores(resources.cpu) < 1:
        raise BadResources("spec.kubernetes.resources: cpu and memory must be more than nothing")
    asked = (spec.shared_memory_gib or 0) * GIB
    barred = spec.fabric is not None and spec.fabric.efa == "None"
    return Demand(
        cpu=millicores(resources.cpu),
        memory=own + asked,
        shared=asked or _half(own),
        gpus=resources.gpus,
        ranks=max(1, resources.gpus),
        efa=0 if barred else resources.efa,
        efa_possible=resources.efa,
    )


def _half(memory: int) -> int:
    """The kernel's own default for /dev/shm, in whole MiB."""
    return max(MIB, memory // 2 // MIB * MIB)
