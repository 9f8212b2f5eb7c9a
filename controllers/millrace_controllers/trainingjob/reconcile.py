"""The stages of a TrainingJob's pass.

What is decided is written into status before an attempt is taken down: the pass that ends an attempt only says so, the next one
acts on it. A pass that starts something acts first and says so after: what it made is found by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from millrace.api import expressions
from millrace.api.v1alpha1.trainingjob import MetricSpec
from millrace.aws import subscriptions
from millrace.aws.resolve import ACCOUNTS
from millrace.engine.controller import Pass
from millrace.engine.errors import Refused
from millrace.engine.outcome import Event, Outcome
from millrace_controllers.trainingjob import inputs, plan, status
from millrace_controllers.trainingjob.backends.kubernetes import KubernetesTrainer, layout
from millrace_controllers.trainingjob.backends.sagemaker import SageMakerTrainer, jumpstart
from millrace_controllers.trainingjob.observed import JobState, Observed
from millrace_controllers.trainingjob.plan import Decision, Do

Object = dict[str, Any]
KUBERNETES, SAGE_MAKER = KubernetesTrainer(), SageMakerTrainer()


def backend(ctx: Pass) -> KubernetesTrainer | SageMakerTrainer:
    """The one that the spec's member chooses."""
    return KUBERNETES if ctx.spec.kubernetes is not None else SAGE_MAKER


async def reconcile(ctx: Pass) -> Outcome:
    """One pass: finished? new run? observe, decide, act, say."""
    old = ctx.status
    run_id = ctx.spec.run_id or ""
    if old.get("completionTime"):
        return status.new_run(run_id, old) if old.get("runID", "") != run_id else await _settled(ctx)
    if not old.get("attempt"):
        _check_expressions(ctx.spec.metrics or ())
    observed = await _observe(ctx)
    decision = plan.decide(ctx.spec, old, observed, ctx.clock.now())
    warnings: tuple[str, ...] = ()
    if await _act(ctx, decision, observed):
        observed, warnings = await _observe(ctx), backend(ctx).warnings(ctx)
    licence = await backend(ctx).licence(ctx) if observed.current.job is not JobState.MISSING else None
    said = status.outcome(decision, old, observed, _lineage(ctx, observed), run_id, ctx.clock.now())
    fields = {**said.fields, "licence": licence} if licence else said.fields
    return replace(said, fields=fields, events=(*said.events, *status.warned(warnings)))


def _check_expressions(metrics: Iterable[MetricSpec]) -> None:
    """The API server knows no Python: what is no expression is refused before anything runs. Raises Refused."""
    for metric in metrics:
        if why := expressions.problem(metric.regex):
            raise Refused(f"spec.metrics[{metric.name}].regex is no Python regular expression: {why}")


async def _observe(ctx: Pass) -> Observed:
    observed = await backend(ctx).observe(ctx)
    try:
        from_s3 = ctx.spec.sage_maker is not None
        found = inputs.resolve(
            ctx.spec.inputs, ctx.status.get("lineage"), lambda name: ctx.lookup("datasets", name), from_s3=from_s3
        )
    except inputs.NotReady as missing:
        return replace(observed, missing_input=str(missing))
    return replace(observed, inputs=found)


async def _act(ctx: Pass, decision: Decision, observed: Observed) -> bool:
    """Carry out a decision; True where it made something that the status should tell of at once.

    A decision that ends an attempt or the run is only written down now; the pass after that write does the rest.
    """
    if decision.end is not None or decision.final:
        return False
    match decision.do:
        case Do.START:
            await backend(ctx).create(ctx, observed.inputs)
            return True
        case Do.VERIFY:
            await backend(ctx).verify(ctx)
        case Do.CLEAR:
            await backend(ctx).clear(ctx, keep_ended=False)
        case Do.NOTHING:
            pass
    return False


def _lineage(ctx: Pass, observed: Observed) -> Object | None:
    """Pinned from the first start on."""
    if observed.current.job is JobState.MISSING and not ctx.status.get("lineage"):
        return None
    digests = {**_base(ctx), "specDigest": layout.spec_digest(ctx.spec), "parametersDigest": layout.parameters_digest(ctx.spec)}
    return status.lineage(observed.inputs, digests, observed.current.image_digest, ctx.status.get("lineage"))


def _base(ctx: Pass) -> Object:
    told = jumpstart.base_model(ctx.spec)
    return {"baseModel": told} if told else {}


async def _settled(ctx: Pass) -> Outcome:
    """After the end nothing runs; ended pods stay for their logs until their time is over."""
    left = status.ttl_left(ctx.status, ctx.spec.ttl_seconds_after_finished, ctx.clock.now())
    await backend(ctx).clear(ctx, keep_ended=left != 0.0)
    return replace(status.settled(ctx.status), requeue_after=left or None)


async def finalize(ctx: Pass) -> Outcome:
    """Take down what runs (with time for a checkpoint), then the data if that is the policy."""
    if ctx.spec.deletion_policy == "Retain":
        await backend(ctx).orphan(ctx)
        return Outcome(released=True)
    if not await backend(ctx).delete(ctx):
        return status.deleting("The pods are being stopped; programs that know SIGTERM make a checkpoint", ctx.status)
    if ctx.spec.data_policy == "Delete" and not await backend(ctx).sweep(ctx):
        return status.deleting("The run's data is being deleted", ctx.status)
    return Outcome(released=True, events=_subscription(ctx))


def _subscription(ctx: Pass) -> tuple[Event, ...]:
    """Of the algorithm that a run on SageMaker used."""
    if ctx.spec.sage_maker is None:
        return ()
    said = subscriptions.left(ctx.spec.sage_maker.algorithm.algorithm_arn, ctx.lookup(ACCOUNTS, ctx.spec.account))
    return (Event(subscriptions.STAYS, said),) if said else ()
