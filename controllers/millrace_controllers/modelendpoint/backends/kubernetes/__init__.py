"""Serves a ModelEndpoint by a Deployment of this cluster, behind a Service of the object's own name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace.engine.controller import Pass
from millrace.engine.errors import NameConflict
from millrace.kube import labels, orphans
from millrace.kube.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, PODS, SERVICES
from millrace_controllers.modelendpoint import speed
from millrace_controllers.modelendpoint.backends.kubernetes import manifests, observe
from millrace_controllers.modelendpoint.observed import Observed, Target

Object = dict[str, Any]
_CHILDREN = (SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS)
_LOST_SECONDS = 60.0
"""A pod that is still listed this long after it should have been gone is on a node that does not answer; so is its Deployment."""


class KubernetesServer:
    """The backend of the member `kubernetes`."""

    name = "kubernetes"

    async def observe(self, ctx: Pass) -> Observed:
        """What exists, from the cache."""
        own = manifests.name(ctx.object)
        beside = (ctx.child(SERVICES, ctx.name), ctx.child(DISRUPTION_BUDGETS, own))
        measured, revision = speed.pushed(ctx.board.of(ctx.uid, 0).get(0))
        return Observed(
            deployed=observe.deployed(ctx.child(DEPLOYMENTS, own)),
            pods=tuple(observe.serving_pod(p) for p in ctx.children(PODS)),
            complete=all(beside),
            measured=measured,
            measured_revision=revision,
        )

    async def create(self, ctx: Pass, wanted: Target) -> None:
        """Make everything, or bring it to what is wanted. Raises NameConflict where the Service's name is taken."""
        await self._check_name(ctx)
        made = manifests.everything(ctx.object, ctx.spec, wanted, ctx.settings)
        for resource, manifest in zip(_CHILDREN, made, strict=True):
            await ctx.apply(resource, manifest)

    async def _check_name(self, ctx: Pass) -> None:
        """An apply would take a stranger's Service over without a word."""
        if ctx.child(SERVICES, ctx.name) is not None:
            return
        found = await ctx.client.find(SERVICES, ctx.namespace, ctx.name)
        if found is not None and ctx.cache.owner_uid(found) != ctx.uid:
            raise NameConflict(f"Service {ctx.name!r} exists and was not made for this object")

    async def scale(self, ctx: Pass) -> None:
        """Change the number of pods and nothing else."""
        body = {"spec": {"replicas": manifests.replicas(ctx.spec)}}
        found = await ctx.client.patch(DEPLOYMENTS, ctx.namespace, manifests.name(ctx.object), body)
        ctx.cache.put(DEPLOYMENTS.plural, {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind, **found})

    async def delete(self, ctx: Pass) -> bool:
        """Take everything down; True when no pod is left that may still answer.

        A Deployment goes after its pods: the controllers behind it may still be about to make some.
        """
        for resource in _CHILDREN:
            for child in ctx.children(resource):
                if not child["metadata"].get("deletionTimestamp"):
                    await ctx.delete(resource, child, children_first=resource is DEPLOYMENTS)
        now = ctx.clock.now()
        left = [d for d in ctx.children(DEPLOYMENTS) if not _lost(d, now)]
        return not left and not any(_may_run(p, now) for p in ctx.children(PODS))

    async def orphan(self, ctx: Pass) -> None:
        """Let it serve on without its object."""
        for resource in _CHILDREN:
            for child in ctx.children(resource):
                if labels.is_owned_by(child, ctx.uid):
                    await orphans.orphan(ctx.client, resource, child)


def _may_run(pod: Object, now: datetime) -> bool:
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    return not _lost(pod, now)


def _lost(child: Object, now: datetime) -> bool:
    """Whether it should have been gone for so long that its node must be."""
    ends = child["metadata"].get("deletionTimestamp")
    return ends is not None and (now - datetime.fromisoformat(ends)).total_seconds() >= _LOST_SECONDS
