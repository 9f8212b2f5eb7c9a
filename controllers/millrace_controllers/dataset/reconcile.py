"""The stages of a Dataset's pass."""

from __future__ import annotations

from millrace.engine.controller import Pass
from millrace.engine.outcome import Outcome
from millrace_controllers.dataset import plan, status
from millrace_controllers.dataset.backends.kubernetes import KubernetesDataset
from millrace_controllers.dataset.plan import Step

BACKEND = KubernetesDataset()


async def reconcile(ctx: Pass) -> Outcome:
    """One pass: observe, decide, act, say. What is suspended is not looked for: its source and account may not be well."""
    if ctx.spec.suspend:
        return await _suspended(ctx)
    observed = await BACKEND.observe(ctx)
    for unwanted in observed.others:
        await BACKEND.stop(ctx, unwanted)
    match plan.next_step(ctx.status, observed):
        case Step.NOTHING:
            await _stop(ctx, observed)
            return status.unchanged(ctx.status, looked_at=ctx.spec.source.s3 is not None)
        case Step.START:
            await BACKEND.create(ctx, observed.fingerprint)
            return status.reading(await BACKEND.observe(ctx))
        case Step.READ_BACK:
            await BACKEND.read_back(ctx, observed)
            return status.reading(await BACKEND.observe(ctx))
        case Step.WAIT:
            return status.reading(observed)
        case Step.PUBLISH:
            return _published(ctx, observed)
        case Step.TRY_AGAIN:
            await _stop(ctx, observed)
            return status.reading(observed)
        case Step.FAIL:
            return status.failed(ctx.status, *_blame(ctx, observed), looked_at=ctx.spec.source.s3 is not None)


async def _suspended(ctx: Pass) -> Outcome:
    running = BACKEND.running(ctx)
    for job in running:
        await BACKEND.stop(ctx, job)
    return status.suspended(gone=not running)


async def _stop(ctx: Pass, observed: plan.Observed) -> None:
    for job in observed.jobs:
        await BACKEND.stop(ctx, job)


def _blame(ctx: Pass, observed: plan.Observed) -> tuple[plan.Object, str | None]:
    """Whose words tell of the failure: the reader's where the worker was content; and the claim that a report lies on."""
    report = observed.report or {}
    return (observed.verdict or {}) if report.get("ok") else report, _claim(ctx)


def _claim(ctx: Pass) -> str | None:
    claim = ctx.spec.publish.claim if ctx.spec.publish else None
    return claim.name if claim else None


def _published(ctx: Pass, observed: plan.Observed) -> Outcome:
    """The Jobs go only when the status that tells of its report is stored: a crash between the two reads it again."""
    assert observed.report is not None
    return status.published(ctx.status, observed.fingerprint, observed.report, _claim(ctx))


async def finalize(ctx: Pass) -> Outcome:
    """Take the worker down, then the data if that is the policy."""
    if ctx.spec.deletion_policy == "Retain":
        await BACKEND.orphan(ctx)
        return Outcome(released=True)
    if not await BACKEND.delete(ctx):
        return status.deleting("The worker is being stopped")
    if ctx.spec.data_policy == "Delete" and not await BACKEND.sweep(ctx):
        return status.deleting("The published data is being deleted")
    return Outcome(released=True)
