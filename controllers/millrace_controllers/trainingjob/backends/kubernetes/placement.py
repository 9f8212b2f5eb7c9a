"""Where the pods of an attempt may run: one to a node, off the nodes that failed, close to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.api.v1alpha1.trainingjob import KubernetesTraining, Placement
from millrace.engine.errors import Terminal
from millrace_controllers.trainingjob.backends.kubernetes.demand import Demand

Object = dict[str, Any]

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
RACK = "topology.k8s.aws/network-node-layer-3"
"""The network node nearest to the instance; the layers 1 and 2 are above it."""

_STRONGEST = 100


class ContradictoryPlacement(Terminal):
    """The node selector and the instance type exclude each other."""


@dataclass(frozen=True)
class Closeness:
    """Pods that share a value of `key`: as a condition of scheduling, or as a wish."""

    key: str
    required: bool


def node_selector(spec: KubernetesTraining) -> dict[str, str]:
    """The user's selector and the instance type. Raises ContradictoryPlacement."""
    chosen = dict((spec.placement and spec.placement.node_selector) or {})
    if spec.instance_type is None:
        return chosen
    other = chosen.setdefault(INSTANCE_TYPE, spec.instance_type)
    if other != spec.instance_type:
        raise ContradictoryPlacement(
            f"placement.nodeSelector says {INSTANCE_TYPE} {other} and instanceType says {spec.instance_type}: remove one of them"
        )
    return chosen


def tolerations(spec: KubernetesTraining, asked: Demand) -> tuple[Object, ...]:
    """Of the taints that device nodes carry by custom, and of the user's."""
    devices = {"nvidia.com/gpu": asked.gpus, "aws.amazon.com/neuron": asked.neuron}
    ours = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key, count in devices.items() if count]
    theirs = (spec.placement and spec.placement.tolerations) or []
    return (*ours, *(toleration.model_dump(by_alias=True, exclude_none=True) for toleration in theirs))


def closeness(spec: KubernetesTraining) -> tuple[Closeness, ...]:
    """How close together the pods must be; nothing for a single pod.

    A required key must be a label of the node, so it is required only where it was asked for or where the nodes are EC2's, which
    have zones. Elsewhere one zone is a wish: a cluster at home has no zone labels, and a run there must schedule.
    """
    if spec.nodes == 1:
        return ()
    placement = spec.placement or Placement()
    found = []
    if placement.same_zone:
        found.append(Closeness(ZONE, required=spec.placement is not None or spec.instance_type is not None))
    if placement.same_rack:
        found.append(Closeness(RACK, required=placement.same_rack == "Required"))
    return tuple(found)


def affinity(spec: KubernetesTraining, avoid_nodes: Sequence[str], labels: Mapping[str, str]) -> Object:
    """The pod's affinity; empty when anywhere will do.

    `labels` select the pods of this attempt. Without them there are no terms between pods: an empty selector would mean every
    pod of the namespace.
    """
    parts = {
        "nodeAffinity": _away_from(avoid_nodes),
        "podAffinity": _together(closeness(spec), labels) if labels else {},
        "podAntiAffinity": _apart(labels) if labels and spec.nodes > 1 and spec.instance_type is not None else {},
    }
    return {name: part for name, part in parts.items() if part}


def topology_keys(spec: KubernetesTraining) -> tuple[str, ...]:
    """Labels without which no node can take a pod of the group."""
    return tuple(close.key for close in closeness(spec) if close.required)


def _away_from(nodes: Sequence[str]) -> Object:
    """By host name label and not by field: Karpenter refuses matchFields altogether. It passes over hostname terms too
    (kubernetes-sigs/karpenter#3214), so a pod that avoids a node goes to nodes that exist and does not make one."""
    if not nodes:
        return {}
    expression = {"key": HOSTNAME, "operator": "NotIn", "values": sorted(set(nodes))}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def _together(wanted: Sequence[Closeness], labels: Mapping[str, str]) -> Object:
    """Affinity of the pods to their own label. The first pod has no peer yet: the scheduler lets a pod that matches its own term
    go first."""
    required = [_term(close.key, labels) for close in wanted if close.required]
    preferred = [{"weight": _STRONGEST, "podAffinityTerm": _term(close.key, labels)} for close in wanted if not close.required]
    parts = {
        "requiredDuringSchedulingIgnoredDuringExecution": required,
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
    }
    return {name: terms for name, terms in parts.items() if terms}


def _apart(labels: Mapping[str, str]) -> Object:
    return {"requiredDuringSchedulingIgnoredDuringExecution": [_term(HOSTNAME, labels)]}


def _term(key: str, labels: Mapping[str, str]) -> Object:
    return {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": key}
