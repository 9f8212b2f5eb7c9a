"""The operator's permissions, derived from what the kinds declare and what the engine calls; the chart makes roles of them.

- `namespaced`: needed wherever objects live; a ClusterRole, or a Role in each watched namespace;
- `cluster`: needs a ClusterRole in any case; the namespace kube-system is read for its uid, which names the cluster;
- `own`: in the operator's own namespace;
- `guard`: for the uninstall hook;
- `view`, `edit`: for users, aggregated into the cluster's roles of these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from millrace.api.common import GROUP
from millrace.cli.generators.text import GENERATED, to_yaml
from millrace.engine.controller import Controller, Rule

Manifest = dict[str, Any]
LEASE = "millrace-operator"
PATH = "charts/millrace/files/rbac.yaml"

_CHILD_VERBS = ("create", "delete", "get", "list", "patch", "watch")


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """The one file that the chart's templates read."""
    return {PATH: f"# {GENERATED}\n{to_yaml(roles(controllers))}"}


def roles(controllers: Sequence[Controller]) -> dict[str, list[Manifest]]:
    """Rules of each role."""
    plurals = tuple(sorted(c.kind.plural for c in controllers if c.kind.group == GROUP))
    return {
        "namespaced": merged([*_engine(plurals), *_children(controllers), *_declared(controllers, cluster_scoped=False)]),
        "cluster": [
            *merged([*_outside_namespaces(controllers), *_declared(controllers, cluster_scoped=True)]),
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
        ],
        "own": _own(),
        "guard": merged([Rule(GROUP, plurals, ("list",))]),
        "view": merged([Rule(GROUP, plurals, ("get", "list", "watch")), Rule(GROUP, _sub(plurals, "status"), ("get",))]),
        "edit": merged([Rule(GROUP, plurals, ("create", "delete", "patch", "update"))]),
    }


def _engine(plurals: tuple[str, ...]) -> list[Rule]:
    """What every pass does; the subresource finalizers lets us set blockOwnerDeletion where admission checks it."""
    return [
        Rule(GROUP, plurals, ("get", "list", "patch", "watch")),
        Rule(GROUP, _sub(plurals, "status"), ("patch",)),
        Rule(GROUP, _sub(plurals, "finalizers"), ("update",)),
        Rule("", ("events",), ("create", "get", "patch")),
    ]


def _sub(plurals: tuple[str, ...], subresource: str) -> tuple[str, ...]:
    return tuple(f"{plural}/{subresource}" for plural in plurals)


def _children(controllers: Sequence[Controller]) -> list[Rule]:
    return [Rule(child.group, (child.plural,), _CHILD_VERBS) for c in controllers for child in c.children]


def _declared(controllers: Sequence[Controller], *, cluster_scoped: bool) -> list[Rule]:
    return [rule for c in controllers for rule in c.rules if rule.cluster_scoped is cluster_scoped]


def _outside_namespaces(controllers: Sequence[Controller]) -> list[Rule]:
    """Token reviews let pods push their progress; nodes are watched only where a kind reacts to them."""
    nodes = [Rule("", ("nodes",), ("list", "watch"))] if any(c.watches_nodes for c in controllers) else []
    return [Rule("authentication.k8s.io", ("tokenreviews",), ("create",)), *nodes]


def _own() -> list[Manifest]:
    """The Lease, and the label on the leader's pod. A create cannot be limited to a name."""
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    return [
        {**lease, "verbs": ["create"]},
        {**lease, "resourceNames": [LEASE], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "patch"]},
    ]


def merged(rules: Iterable[Rule]) -> list[Manifest]:
    """Rules with one entry for each set of verbs of a group; deterministic, and each resource is named once."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for resource in rule.resources:
            verbs.setdefault((rule.group, resource), set()).update(rule.verbs)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), allowed in sorted(verbs.items()):
        together.setdefault((group, tuple(sorted(allowed))), []).append(resource)
    return [{"apiGroups": [group], "resources": names, "verbs": list(allowed)} for (group, allowed), names in together.items()]
