"""The stages of a ModelEndpoint's pass."""

from __future__ import annotations

from millrace.api import expressions
from millrace.engine.conditions import for_error
from millrace.engine.controller import Pass
from millrace.engine.errors import Refused, Terminal
from millrace.engine.outcome import Outcome
from millrace.engine.reasons import Reason
from millrace_controllers.modelendpoint import hosting, hours, idle, models, plan, status
from millrace_controllers.modelendpoint.backends.kubernetes import KubernetesServer, manifests
from millrace_controllers.modelendpoint.observed import Observed, Target
from millrace_controllers.modelendpoint.plan import Step

BACKEND = KubernetesServer()


async def reconcile(ctx: Pass) -> Outcome:
    """One pass, by the member of the spec. Raises Refused for a probe that can never be met."""
    if ctx.spec.suspend or not (ctx.spec.schedule or ctx.spec.idle_seconds):
        return _not_idle(ctx, await _by_member(ctx))
    now = hours.look(ctx.spec.schedule, ctx.clock.now()) if ctx.spec.schedule else hours.ALWAYS
    rest = _rest(ctx, now)
    if rest is not None:
        ctx.spec = ctx.spec.model_copy(update={"suspend": True})
    try:
        made = await _by_member(ctx)
    except Terminal as error:  # a faulty spec must not keep what serves from going when its hours are over
        made = Outcome(status.explain(ctx.object, error) or for_error("Ready", error))
    made = status.by_the_hour(made, now.seconds, rest)
    if rest is status.IDLE:
        return made
    made = _not_idle(ctx, made)
    return await hosting.unless_idle(ctx, made, now.since) if rest is None and ctx.spec.idle_seconds else made


def _rest(ctx: Pass, now: hours.Hours) -> Reason | None:
    """Why it shall not be there now."""
    if not now.up:
        return status.OUTSIDE_HOURS
    return status.IDLE if ctx.spec.idle_seconds and idle.is_stopped(ctx.object, now.since) else None


def _not_idle(ctx: Pass, made: Outcome) -> Outcome:
    return status.with_fields(made, {"idle": None}) if ctx.status.get("idle") else made


async def _by_member(ctx: Pass) -> Outcome:
    """What is suspended goes, whatever else is wrong with its spec."""
    expect = ctx.spec.probe.expect if ctx.spec.probe else None
    if expect and expect.matches and not ctx.spec.suspend and (why := expressions.problem(expect.matches)):
        raise Refused(f"spec.probe.expect.matches is no Python regular expression: {why}")
    return await (hosting.reconcile(ctx) if ctx.spec.sage_maker else _by_pods(ctx))


async def _by_pods(ctx: Pass) -> Outcome:
    """Which model? observe, decide, act, say."""
    observed = await BACKEND.observe(ctx)
    try:
        target = models.target(ctx.spec, ctx.status, lambda name: ctx.lookup("trainingjobs", name))
    except models.ModelNotReady as missing:
        return await _without_model(ctx, observed, str(missing))
    return await _with_model(ctx, observed, target)


async def _with_model(ctx: Pass, observed: Observed, target: Target) -> Outcome:
    replicas = manifests.replicas(ctx.spec)
    step = plan.next_step(target, replicas, observed, ctx.status.get("appliedGeneration"))
    match step:
        case Step.MAKE:
            await BACKEND.create(ctx, target)
        case Step.SCALE:
            await BACKEND.scale(ctx)
        case Step.NOTHING:
            pass
    if step is not Step.NOTHING:
        observed = await BACKEND.observe(ctx)
    return status.outcome(target, replicas, observed, ctx.status, manifests.url(ctx.object, ctx.spec))


async def _without_model(ctx: Pass, observed: Observed, why: str) -> Outcome:
    """What an earlier spec made serves on until there is something to roll over to; suspension holds all the same."""
    deployed = observed.deployed
    if deployed is not None and ctx.spec.suspend and deployed.replicas:
        await BACKEND.scale(ctx)
        observed = await BACKEND.observe(ctx)
    return status.waiting(why, observed, suspended=ctx.spec.suspend)


async def finalize(ctx: Pass) -> Outcome:
    """Take it down; requests in flight are finished."""
    if ctx.spec.sage_maker:
        return await hosting.finalize(ctx)
    if ctx.spec.deletion_policy == "Retain":
        await BACKEND.orphan(ctx)
        return Outcome(released=True)
    if not await BACKEND.delete(ctx):
        return status.deleting()
    return Outcome(released=True)
