"""Reads, checks and publishes a Dataset's content in a worker pod of this cluster."""

from __future__ import annotations

import json
from typing import Any

from millrace.api.common import Model
from millrace.api.v1alpha1.dataset import DatasetSpec, WorkerResources
from millrace.aws.pods import NO_ACCESS, PodAccess
from millrace.engine.clock import moment
from millrace.engine.controller import Pass
from millrace.engine.errors import Waiting
from millrace.kube import labels, orphans, pods
from millrace.kube.labels import RECONCILE_AT
from millrace.kube.pods import Mount
from millrace.kube.resources import CONFIG_MAPS, JOBS, PODS
from millrace_controllers.dataset import status
from millrace_controllers.dataset.backends import s3
from millrace_controllers.dataset.plan import Compared, Observed, SourceNotFound, compared, fingerprint

Object = dict[str, Any]
ROLE, READER = "worker", "verify"
_ROLES = frozenset({ROLE, READER})
_WHO = {ROLE: "the worker", READER: "the reader"}
_INLINE = "/millrace/inline"


class KubernetesDataset:
    """A Job per fingerprint, whose pod's termination message is the result, and one that reads what it published."""

    name = "kubernetes"

    async def observe(self, ctx: Pass) -> Observed:
        """The Job of the current fingerprint, its report and what keeps it. Raises SourceNotFound, ComparedNotReady, Refused."""
        print_ = fingerprint(ctx.spec, "/".join([await _source_version(ctx), *(other.digest for other in _compared(ctx))]))
        jobs = {j["metadata"]["name"]: j for j in ctx.children(JOBS) if pods.role(j) in _ROLES}
        job = jobs.get(_job_name(ctx.object, print_))
        reader = jobs.get(_reader_name(ctx.object, job)) if job is not None else None
        others = tuple(j for j in jobs.values() if j not in (job, reader) and not j["metadata"].get("deletionTimestamp"))
        if job is not None and job["metadata"].get("deletionTimestamp"):
            return Observed(print_, job, trouble="the worker of an earlier try is still ending", others=others)
        if job is None:
            return Observed(print_, others=others)
        own, reading = await _pods(ctx, job, ROLE), await _pods(ctx, reader, READER) if reader is not None else []
        report, trouble = _report(job, own), _trouble(own) or _trouble(reading, READER)
        verdict = _report(reader, reading, READER) if reader is not None else await _in_s3(ctx, print_, report)
        return Observed(print_, job, report, trouble, _percent(ctx), others, reader, verdict, _again(ctx, job, report))

    async def create(self, ctx: Pass, wanted: str) -> None:
        """Start the worker of a fingerprint."""
        compared, settings = _compared(ctx), ctx.settings
        needs_aws = _uses_s3(ctx.spec) or any(other.in_s3 for other in compared)
        access = ctx.account(ctx.spec.account).pod_access if needs_aws else NO_ACCESS
        image, url = settings.images.dataset, settings.progress_url
        await ctx.create(JOBS, job_manifest(ctx.object, ctx.spec, wanted, image, url, access, compared))

    async def read_back(self, ctx: Pass, observed: Observed) -> None:
        """Start the reader of what the worker published."""
        assert observed.job is not None
        assert observed.report is not None
        await ctx.create(JOBS, reader_manifest(ctx.object, ctx.spec, observed.job, observed.report, ctx.settings.images.operator))

    def running(self, ctx: Pass) -> list[Object]:
        """Workers and readers, of whatever fingerprint."""
        return [job for job in ctx.children(JOBS) if pods.role(job) in _ROLES]

    async def stop(self, ctx: Pass, job: Object) -> None:
        """Delete one Job and its pods."""
        if not job["metadata"].get("deletionTimestamp"):
            await ctx.delete(JOBS, job)

    async def delete(self, ctx: Pass) -> bool:
        """Delete all workers and readers; True when neither Job nor pod is left."""
        for job in self.running(ctx):
            await self.stop(ctx, job)
        return not any(pods.role(child) in _ROLES for child in (*ctx.children(JOBS), *ctx.children(PODS)))

    async def orphan(self, ctx: Pass) -> None:
        """Let a running worker finish without its Dataset."""
        for job in ctx.children(JOBS):
            await orphans.orphan(ctx.client, JOBS, job)

    async def sweep(self, ctx: Pass) -> bool:
        """Delete what was ever published and no other Dataset uses, by a pod that mounts the claims; True when that is gone."""
        everything = ctx.status.get("published") or ()
        await _sweep_s3(ctx, {p["uri"] for p in everything if p.get("uri")})
        published = [p for p in everything if p.get("claim")]
        if not published:
            return True
        job = ctx.child(JOBS, labels.child_name(ctx.object, pods.SWEEP))
        if job is None:
            mounts = pods.unique(Mount(p["claim"], pods.claim_root(p["claim"])) for p in published)
            paths = [pods.under(pods.claim_root(p["claim"]), p["path"]) for p in published]
            image, account = ctx.settings.images.operator, ctx.spec.service_account_name
            await ctx.create(JOBS, pods.sweep_job(ctx.object, image, mounts, paths, account, shared=True))
            return False
        if failed := pods.failure(job):
            raise Waiting(f"the published data could not be deleted: {failed}; delete that Job to try again")
        return pods.is_condition(job, "Complete")


async def _sweep_s3(ctx: Pass, told: set[str]) -> None:
    target = ctx.spec.publish.s3 if ctx.spec.publish else None
    if target is not None and not ctx.never_answered(ctx.spec.account):
        account = ctx.account(ctx.spec.account)
        await s3.sweep(account, sorted(told.union(await s3.marked(account, target.uri, ctx.uid))), ctx.uid)


async def _in_s3(ctx: Pass, print_: str, report: Object | None) -> Object | None:
    """What S3 says of what a worker has put there; None where it is not asked."""
    done = ctx.status.get("sourceFingerprint") == print_
    if done or not (report or {}).get("ok") or ctx.spec.publish is None or ctx.spec.publish.s3 is None:
        return None
    return await s3.verdict(ctx.account(ctx.spec.account), _told(report or {}, "uri"))


def _compared(ctx: Pass) -> tuple[Compared, ...]:
    """The Datasets to compare with, as they are published now. Raises ComparedNotReady or Refused."""
    named = (ctx.spec.quality.compare_with if ctx.spec.quality else None) or ()
    return tuple(compared(ctx.name, ctx.spec.format, n.name, ctx.lookup("datasets", n.name)) for n in named)


def _uses_s3(spec: DatasetSpec) -> bool:
    return spec.source.s3 is not None or (spec.publish is not None and spec.publish.s3 is not None)


def _again(ctx: Pass, job: Object, report: Object | None) -> bool:
    """Whether a worker that failed for what others mend has rested long enough."""
    if not report or report.get("ok") or report.get("reason") not in status.AGAIN:
        return False
    since = (pods.condition(job, "Failed") or {}).get("lastTransitionTime")
    return since is not None and (ctx.clock.now() - moment(since)).total_seconds() >= status.LOOK_SECONDS


async def _pods(ctx: Pass, job: Object, role: str) -> list[Object]:
    """A Job's pods. Jobs and pods are watched by streams of their own: an ended Job without a report is looked up."""
    name = job["metadata"]["name"]
    own = [p for p in ctx.children(PODS) if pods_of(p) == name]
    if not _ended(job) or any(pods.report(pods.termination(p, role)) for p in own):
        return own
    chosen = f"batch.kubernetes.io/job-name={name}"
    return [p async for p in ctx.client.list_objects(PODS, ctx.namespace, labels=chosen)]


def _ended(job: Object) -> bool:
    return pods.is_condition(job, "Complete") or pods.is_condition(job, "Failed")


def pods_of(pod: Object) -> str:
    """Name of the Job that a pod belongs to."""
    return str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", ""))


def _job_name(owner: Object, print_: str) -> str:
    return labels.child_name(owner, print_[:8])


def _reader_name(owner: Object, worker: Object) -> str:
    """Of the worker's Job, not of its fingerprint: what an earlier worker's reader saw says nothing of a later one's work."""
    return labels.child_name(owner, worker["metadata"]["uid"].replace("-", "")[:8], READER)


async def _source_version(ctx: Pass) -> str:
    """Changes when the source does, as far as can be told without reading it; a forced reconcile counts as a change."""
    asked = (ctx.object["metadata"].get("annotations") or {}).get(RECONCILE_AT, "")
    if ctx.spec.source.s3 is not None:
        return f"{asked}/{await s3.source_version(ctx.account(ctx.spec.account), ctx.spec.source.s3.uri)}"
    inline = ctx.spec.source.inline
    if inline is None:
        return str(asked)
    reference = inline.config_map_ref
    found = await ctx.client.find(CONFIG_MAPS, ctx.namespace, reference.name)
    if found is None:
        raise SourceNotFound(f"ConfigMap {reference.name!r} does not exist")
    content = {**(found.get("data") or {}), **(found.get("binaryData") or {})}
    if reference.key and reference.key not in content:
        raise SourceNotFound(f"ConfigMap {reference.name!r} has no key {reference.key!r}")
    return f"{asked}/{found['metadata']['uid']}/{found['metadata']['resourceVersion']}"


def _report(job: Object, own: list[Object], role: str = ROLE) -> Object | None:
    """Its last words once the Job is final; an unreadable or missing one is a failed one."""
    if not _ended(job):
        return None
    said = [pods.report(pods.termination(p, role)) for p in sorted(own, key=lambda p: p["metadata"]["creationTimestamp"])]
    reports = [r for r in said if r is not None]
    if pods.is_condition(job, "Complete"):
        return reports[-1] if reports else {"ok": False, "message": f"{_WHO[role]} ended, but its report is gone"}
    failed = [r for r in reports if not r.get("ok")]
    return failed[-1] if failed else {"ok": False, "message": _job_message(job, role)}


def _job_message(job: Object, role: str) -> str:
    found = pods.condition(job, "Failed") or {}
    return f"{_WHO[role]} failed without a report: {found.get('message') or found.get('reason') or 'unknown'}"


def _trouble(own: list[Object], role: str = ROLE) -> str | None:
    return next((why for pod in own if (why := pods.obstacle(pod, _WHO[role]))), None)


def _percent(ctx: Pass) -> int | None:
    push = ctx.board.of(ctx.uid, 0).get(0)
    return min(100, int(100 * push.step / push.max_steps)) if push is not None and push.max_steps else None


def job_manifest(
    owner: Object,
    spec: DatasetSpec,
    print_: str,
    image: str,
    progress_url: str,
    access: PodAccess = NO_ACCESS,
    compared: tuple[Compared, ...] = (),
) -> Object:
    """The worker's Job."""
    mounts = _mounts(spec, compared)
    wanted = spec.resources or WorkerResources()
    task = {**_task(spec, compared), **{k: owner["metadata"][k] for k in ("name", "namespace", "uid")}}
    variables = {
        "MILLRACE_DATASET": json.dumps(task, sort_keys=True),
        "MILLRACE_UID": owner["metadata"]["uid"],
        "MILLRACE_ATTEMPT": "0",
        "MILLRACE_TOKEN_FILE": pods.TOKEN_FILE,
        "MILLRACE_PROGRESS_URL": progress_url,
        "MILLRACE_MEMORY": wanted.memory,
        **(access.variables(f"millrace-{owner['metadata']['namespace']}-{owner['metadata']['name']}") if access.region else {}),
    }
    container = {
        "name": ROLE,
        "image": image,
        "command": ["python3", "-m", "millrace_dataset"],
        "env": pods.env(variables),
        "resources": {"requests": {"cpu": wanted.cpu, "memory": wanted.memory}, "limits": {"memory": wanted.memory}},
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *pods.claim_mounts(mounts),
            *_inline_mounts(spec),
            *access.mounts(),
            pods.token_mount(),
            pods.TMP_MOUNT,
        ],
    }
    volumes = [
        *pods.claim_volumes(mounts),
        *_inline_volumes(spec),
        *access.volumes(),
        pods.token_volume(),
        pods.scratch_volume(),
    ]
    secrets = spec.image_pull_secrets or ()
    account = spec.service_account_name
    return pods.one_shot_job(
        owner, _job_name(owner, print_), ROLE, container, volumes, service_account=account, pull_secrets=secrets
    )


def _mounts(spec: DatasetSpec, compared: tuple[Compared, ...]) -> tuple[Mount, ...]:
    mounts = [Mount(claim, pods.claim_root(claim), read_only=True) for other in compared for claim in other.claims]
    if spec.source.claim is not None:
        mounts.append(Mount(spec.source.claim.name, pods.claim_root(spec.source.claim.name), read_only=True))
    if spec.publish is not None and spec.publish.claim is not None:
        mounts.append(Mount(spec.publish.claim.name, pods.claim_root(spec.publish.claim.name)))
    return pods.unique(mounts)


def _task(spec: DatasetSpec, compared: tuple[Compared, ...]) -> Object:
    """The worker's order, in the words of its contract."""
    return {
        "source": _source(spec),
        "format": spec.format,
        "columns": [c.model_dump(mode="json", by_alias=True) for c in spec.columns] if spec.columns else None,
        "transform": _member(spec.transform),
        "layout": _member(spec.layout),
        "split": _member(spec.split),
        "publish": _publish(spec),
        "quality": _quality(spec, compared),
        "conversations": _member(spec.conversations),
    }


def _member(asked: Model | None) -> Object | None:
    return None if asked is None else asked.model_dump(mode="json", by_alias=True)


def _quality(spec: DatasetSpec, compared: tuple[Compared, ...]) -> Object | None:
    if spec.quality is None:
        return None
    asked = spec.quality.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**asked, "compareWith": [other.task for other in compared]} if compared else asked


def reader_manifest(owner: Object, spec: DatasetSpec, worker: Object, report: Object, image: str) -> Object:
    """The Job that reads back what a worker published, with the claim mounted read-only."""
    assert spec.publish is not None
    assert spec.publish.claim is not None
    claim = spec.publish.claim.name
    mounts = (Mount(claim, pods.claim_root(claim), read_only=True),)
    task = {"files": _files(report, pods.claim_root(claim))}
    made = pods.helper("readback", image, task, [*pods.claim_mounts(mounts), pods.TMP_MOUNT])
    container = {**made, "name": READER, "terminationMessagePolicy": "FallbackToLogsOnError"}
    volumes = [*pods.claim_volumes(mounts), pods.scratch_volume()]
    account = spec.service_account_name
    return pods.one_shot_job(owner, _reader_name(owner, worker), READER, container, volumes, service_account=account)


def _files(report: Object, root: str) -> list[Object]:
    return [
        {"path": pods.under(root, f["path"]), "sha256": f["digest"].removeprefix("sha256:"), "bytes": f["bytes"]}
        for f in _told(report, "path")
    ]


def _told(report: Object, kind: str) -> list[Object]:
    """Every file that the worker says it wrote; `kind` is path or uri, by which it names them."""
    folder = report.get("report") or {}
    reports = [{kind: f"{folder[kind]}/{name}", **file} for name, file in (folder.get("files") or {}).items()]
    return [*(report.get("splits") or {}).values(), *reports]


def _publish(spec: DatasetSpec) -> Object | None:
    if spec.publish is None:
        return None
    if spec.publish.s3 is not None:
        return {"s3": spec.publish.s3.model_dump(mode="json", by_alias=True, exclude_none=True)}
    assert spec.publish.claim is not None
    return {"path": pods.under(pods.claim_root(spec.publish.claim.name), spec.publish.claim.path)}


def _source(spec: DatasetSpec) -> Object:
    source = spec.source
    if source.claim is not None:
        return {"path": pods.under(pods.claim_root(source.claim.name), source.claim.path)}
    if source.inline is not None:
        return {"inline": {"path": _INLINE}}
    if source.https is not None:
        return {"https": source.https.model_dump(mode="json")}
    if source.s3 is not None:
        return {"s3": source.s3.model_dump(mode="json")}
    assert source.generated is not None
    return {"generated": source.generated.model_dump(mode="json")}


def _inline_volumes(spec: DatasetSpec) -> list[Object]:
    if spec.source.inline is None:
        return []
    reference = spec.source.inline.config_map_ref
    source: Object = {"name": reference.name}
    if reference.key:
        source["items"] = [{"key": reference.key, "path": reference.key}]
    return [{"name": "inline", "configMap": source}]


def _inline_mounts(spec: DatasetSpec) -> list[Object]:
    return [] if spec.source.inline is None else [{"name": "inline", "mountPath": _INLINE, "readOnly": True}]
