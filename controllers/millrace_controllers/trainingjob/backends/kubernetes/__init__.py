"""Runs a TrainingJob as pods of this cluster.

Per attempt one Indexed Job and one headless Service; at the end a reader pod.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millrace.engine.controller import Pass
from millrace.engine.errors import NameConflict, Waiting
from millrace.engine.progress import Push
from millrace.kube import labels, orphans, pods
from millrace.kube.errors import AlreadyExists
from millrace.kube.resources import CLAIMS, JOBS, NODES, PODS, SERVICES
from millrace_controllers.trainingjob.backends.kubernetes import layout, observe, pod
from millrace_controllers.trainingjob.backends.kubernetes.shape import shape
from millrace_controllers.trainingjob.observed import Attempt, JobState, Observed, RankPod, ResolvedInput, Verification

Object = dict[str, Any]
Inputs = tuple[ResolvedInput, ...]
_PATIENCE_SECONDS = 10.0
_CHILDREN = (JOBS, PODS, SERVICES)


class KubernetesTrainer:
    """The backend of the member `kubernetes`."""

    name = "kubernetes"

    async def observe(self, ctx: Pass) -> Observed:
        """The current attempt, what is left of earlier ones, the reader pod and the newest reports."""
        ended = int(ctx.status.get("endedAttempt") or 0)
        number = ended + 1
        current = await self._current(ctx, number)
        return Observed(
            current=current,
            leftovers=self._leftovers(ctx, ended),
            verification=self._verification(ctx, number),
            pushes=self._pushes(ctx, number),
            procs_per_node=self._procs(ctx),
            monotonic=ctx.clock.monotonic(),
            board_since=ctx.board.since,
            bad_nodes=self._bad_nodes(ctx, current),
        )

    async def _current(self, ctx: Pass, number: int) -> Attempt:
        """The attempt as it was delivered, or read anew where one stream may be behind another."""
        current = self._attempt(ctx, number)
        if current.job is JobState.FAILED and not any(_tells(p) for p in current.pods):
            current = await self._read(ctx, current)
        if current.job is JobState.ACTIVE and ctx.spec.kubernetes.queue_name and any(p.deleting for p in current.pods):
            current = await self._read_job(ctx, current)
        if current.job is JobState.ACTIVE and len(current.pods) < current.nodes and current.age_seconds > _PATIENCE_SECONDS:
            current = replace(current, refusal=await self._refusal(ctx, number))
        return current

    def _attempt(self, ctx: Pass, number: int) -> Attempt:
        job = ctx.child(JOBS, pod.attempt_name(ctx.object, number))
        return observe.attempt(number, ctx.spec.kubernetes.nodes, job, self._pods(ctx, number), ctx.clock.now())

    def _pods(self, ctx: Pass, number: int) -> list[Object]:
        return [p for p in ctx.children(PODS) if pods.role(p) == pod.TRAIN and pods.attempt_of(p) == number]

    async def _read(self, ctx: Pass, current: Attempt) -> Attempt:
        """Jobs and pods are watched by streams of their own: why a Job has failed may not have been delivered yet."""
        chosen = f"batch.kubernetes.io/job-name={current.job_name}"
        own = [p async for p in ctx.client.list_objects(PODS, ctx.namespace, labels=chosen)]
        job = ctx.child(JOBS, pod.attempt_name(ctx.object, current.number))
        return observe.attempt(current.number, current.nodes, job, own, ctx.clock.now())

    async def _read_job(self, ctx: Pass, current: Attempt) -> Attempt:
        """That a queue took the run back may not have been delivered yet, while the end of its pods has."""
        job = await ctx.client.find(JOBS, ctx.namespace, pod.attempt_name(ctx.object, current.number))
        return observe.attempt(current.number, current.nodes, job, self._pods(ctx, current.number), ctx.clock.now())

    async def _refusal(self, ctx: Pass, number: int) -> str | None:
        job = ctx.child(JOBS, pod.attempt_name(ctx.object, number))
        return None if job is None else await observe.refusal(ctx.client, job)

    def _leftovers(self, ctx: Pass, ended: int) -> tuple[str, ...]:
        """What of ended attempts is still there; a pod on a node that does not answer may stay for ever and is not waited for."""
        jobs = [j["metadata"]["name"] for j in ctx.children(JOBS) if pods.role(j) == pod.TRAIN and pods.attempt_of(j) <= ended]
        alive = [p for p in ctx.children(PODS) if pods.role(p) == pod.TRAIN and pods.attempt_of(p) <= ended and _may_run(ctx, p)]
        return (*jobs, *(p["metadata"]["name"] for p in alive))

    def _verification(self, ctx: Pass, number: int) -> Verification | None:
        found = ctx.child(PODS, pod.verifier_name(ctx.object, number))
        if found is None or found["metadata"].get("deletionTimestamp") or _lost(found):
            return None
        ended = pods.termination(found, pod.VERIFY)
        if ended is None:
            return Verification(ctx.uid, trouble=pods.obstacle(found, "the reader pod"))
        return Verification(ctx.uid, _with_uris(ctx, _parsed(ended)))

    def _pushes(self, ctx: Pass, number: int) -> dict[int, Push]:
        place = layout.checkpoints(ctx.spec)
        return {rank: _located(push, place) for rank, push in ctx.board.of(ctx.uid, number).items()}

    def _procs(self, ctx: Pass) -> int:
        return shape(ctx.spec.kubernetes).procs_per_node

    def _bad_nodes(self, ctx: Pass, current: Attempt) -> dict[str, str]:
        names = {p.node for p in current.pods if p.node}
        return {n: why for n in names if (why := node_trouble(ctx, n))}

    async def create(self, ctx: Pass, wanted: Inputs) -> None:
        """Make the claims that the spec asks for, then the current attempt's Service and Job. Raises NameConflict.

        The Job comes last: it is what says that an attempt exists, so a crash before it leaves nothing half made.
        """
        for claim in pod.made_claims(ctx.object, ctx.spec):
            await self._claim(ctx, claim)
        number = int(ctx.status.get("endedAttempt") or 0) + 1
        avoid = tuple(n for n in ctx.status.get("nodesAvoided") or () if node_trouble(ctx, n) not in {None, "the node is gone"})
        job = pod.job(ctx.object, ctx.spec, number, wanted, ctx.settings, avoid)
        await ctx.create(SERVICES, pod.service(ctx.object, number))
        await ctx.create(JOBS, job)

    async def _claim(self, ctx: Pass, claim: Object) -> None:
        """A claim of that name is ours where an object of this kind and name made it, be it with another uid."""
        try:
            await ctx.client.create(CLAIMS, claim)
        except AlreadyExists:
            name = claim["metadata"]["name"]
            found = await ctx.client.get(CLAIMS, ctx.namespace, name)
            marks = found["metadata"].get("labels") or {}
            if (marks.get(labels.KIND), marks.get(labels.NAME)) != (ctx.object["kind"], ctx.name):
                raise NameConflict(
                    f"claim {name!r} exists and was not made for this object: leave out storageClassName and sizeGiB to use it"
                ) from None

    async def licence(self, ctx: Pass) -> Object | None:
        """Nothing of one's own asks for a licence."""
        return None

    def warnings(self, ctx: Pass) -> tuple[str, ...]:
        """What will run as asked but was probably not meant."""
        return shape(ctx.spec.kubernetes).warnings

    async def verify(self, ctx: Pass) -> None:
        """Start the reader pod of the current attempt; one that was lost is made again."""
        number = int(ctx.status.get("endedAttempt") or 0) + 1
        found = ctx.child(PODS, pod.verifier_name(ctx.object, number))
        if found is None:
            await ctx.create(PODS, pod.verifier(ctx.object, ctx.spec, number, ctx.settings))
        elif _lost(found):
            await self._delete(ctx, PODS, found)

    async def clear(self, ctx: Pass, *, keep_ended: bool) -> None:
        """Take down every attempt; with `keep_ended`, pods that have ended stay for their logs."""
        for job in ctx.children(JOBS):
            if pods.role(job) == pod.TRAIN and not (keep_ended and (_ended(job) or self._ending(ctx, job))):
                await self._delete(ctx, JOBS, job)
        for service in ctx.children(SERVICES):
            await self._delete(ctx, SERVICES, service)
        for reader in ctx.children(PODS):
            if pods.role(reader) == pod.VERIFY:
                await self._delete(ctx, PODS, reader)

    def _ending(self, ctx: Pass, job: Object) -> bool:
        """A rank has failed, so the Job ends all by itself: taking it down now would take the pod's log with it."""
        own = [p for p in ctx.children(PODS) if pods.role(p) == pod.TRAIN and pods.attempt_of(p) == pods.attempt_of(job)]
        return any(observe.rank_pod(p).crash is not None for p in own)

    async def delete(self, ctx: Pass) -> bool:
        """Take everything down; True when nothing is left that runs."""
        await self.clear(ctx, keep_ended=False)
        left = [*ctx.children(JOBS), *ctx.children(SERVICES), *(p for p in ctx.children(PODS) if _may_run(ctx, p))]
        return not any(pods.role(child) in {pod.TRAIN, pod.VERIFY} for child in left)

    async def _delete(self, ctx: Pass, resource: Any, child: Object) -> None:
        if not child["metadata"].get("deletionTimestamp"):
            await ctx.delete(resource, child)

    async def orphan(self, ctx: Pass) -> None:
        """Let what runs go on without its object."""
        for resource in _CHILDREN:
            for child in ctx.children(resource):
                if labels.is_owned_by(child, ctx.uid):
                    await orphans.orphan(ctx.client, resource, child)

    async def sweep(self, ctx: Pass) -> bool:
        """Delete the run's data: the claims that were made for it, the folders on claims that were not. True when gone."""
        made = {c["metadata"]["name"] for c in pod.made_claims(ctx.object, ctx.spec)}
        places = [p for p in (layout.output(ctx.spec), layout.checkpoints(ctx.spec)) if p.claim not in made]
        if places and not await self._swept(ctx, places):
            return False
        for name in sorted(made):
            await ctx.client.delete(CLAIMS, ctx.namespace, name)
        return True

    async def _swept(self, ctx: Pass, places: list[layout.Place]) -> bool:
        job = ctx.child(JOBS, labels.child_name(ctx.object, pods.SWEEP))
        if job is None:
            mounts = pods.unique(pods.Mount(p.claim, layout.root(ctx.spec, p.claim)) for p in places)
            paths = sorted({p.directory for p in places})
            image, account = ctx.settings.images.operator, ctx.spec.service_account_name
            await ctx.create(JOBS, pods.sweep_job(ctx.object, image, mounts, paths, account))
            return False
        if failed := pods.failure(job):
            raise Waiting(f"the run's data could not be deleted: {failed}; delete that Job to try again")
        return pods.is_condition(job, "Complete")


def _tells(found: RankPod) -> bool:
    """Whether a pod of a failed Job says why."""
    ended = (found.exit, found.preflight)
    return found.disrupted is not None or found.deleting or any(e is not None and e.code != 0 for e in ended)


def node_trouble(ctx: Pass, name: str) -> str | None:
    """Why a node is not healthy, from the cache; None where nodes are not watched."""
    if ctx.settings.watch_namespaces:
        return None
    return observe.node_trouble(ctx.cache.get((NODES.plural, "", name)))  # type: ignore[arg-type]


def _may_run(ctx: Pass, found: Object) -> bool:
    node = (found.get("spec") or {}).get("nodeName")
    if (found.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    return node is None or node_trouble(ctx, node) is None


def _ended(job: Object) -> bool:
    return any(pods.is_condition(job, type_) for type_ in ("Complete", "Failed", "FailureTarget"))


def _lost(reader: Object) -> bool:
    """A reader pod that was evicted or whose node went: it said nothing and never will."""
    return (reader.get("status") or {}).get("phase") == "Failed" and pods.termination(reader, pod.VERIFY) is None


def _parsed(ended: Object) -> Object:
    if (told := pods.report(ended)) is not None:
        return told
    said = ended.get("message") or ended.get("reason") or f"exit code {ended.get('exitCode')}"
    return {"ok": False, "reason": "OutputUnreadable", "message": f"the reader pod ended without a report: {said}"}


def _with_uris(ctx: Pass, report: Object) -> Object:
    """Paths on the claim as uris."""
    if not report.get("ok"):
        return report
    model = {**report["model"], "uri": layout.output(ctx.spec).child(report["model"]["path"])}
    saved = report.get("checkpoint")
    place = layout.checkpoints(ctx.spec)
    return {**report, "model": model, "checkpoint": {**saved, "uri": place.child(saved["path"])} if saved else None}


def _located(push: Push, place: layout.Place) -> Push:
    if push.checkpoint is None:
        return push
    return replace(push, checkpoint={**push.checkpoint, "path": place.child(push.checkpoint["path"])})
