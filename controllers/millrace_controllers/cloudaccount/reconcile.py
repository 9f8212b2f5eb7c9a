"""The stages of a CloudAccount's pass."""

from __future__ import annotations

from millrace.aws import costs
from millrace.aws.errors import AwsError
from millrace.aws.resolve import external_id
from millrace.engine.controller import Pass
from millrace.engine.errors import MillraceError, Retry
from millrace.engine.outcome import Outcome
from millrace_controllers.cloudaccount import plan, status
from millrace_controllers.cloudaccount.backends.aws import AwsAccount

BACKEND = AwsAccount()


async def reconcile(ctx: Pass) -> Outcome:
    """One pass: tell what the trust policy needs, ask who we are, listen, add up, say."""
    if ctx.spec.suspend:
        await BACKEND.hush(ctx)
        return status.suspended()
    trust = _trust(ctx)
    if trust and ctx.status.get("trust") != trust:
        return status.connecting(trust)
    try:
        observed = await BACKEND.observe(ctx)
    except AwsError as error:
        return await _refused(ctx, plan.meant(error))
    try:
        plan.check_account(ctx.spec, ctx.status, observed)
    except plan.AccountMismatch:
        await BACKEND.hush(ctx)
        raise
    heard, deaf = await _listen(ctx, observed)
    return status.ready(ctx.status, observed, _missing(ctx), _costs(ctx), heard, deaf, ctx.spec.budget)


def _trust(ctx: Pass) -> plan.Object | None:
    """Told before the first call: whoever writes the role's trust policy must see it while the role still refuses."""
    cluster = ctx.clouds.cluster_id
    return {"externalID": external_id(cluster, ctx.namespace)} if cluster else None


async def _refused(ctx: Pass, error: MillraceError) -> Outcome:
    """An error that passes by itself goes the engine's way, with its backoff; a refusal is told with what is missing."""
    if isinstance(error, (Retry, plan.ClusterUnknown)):
        raise error
    await BACKEND.hush(ctx)
    not_opened = isinstance(error, (plan.EndpointNotAllowed, plan.OwnIdentityNotAllowed))
    return status.refused(ctx.status, error, () if not_opened else _missing(ctx))


async def _listen(ctx: Pass, observed: plan.Observed) -> tuple[plan.Heard | None, MillraceError | None]:
    """An account that cannot be listened to is as good as another, only slower."""
    try:
        return await BACKEND.listen(ctx, observed), None
    except AwsError as error:
        return None, plan.meant(error)


def _missing(ctx: Pass) -> status.Missing:
    return ctx.clouds.unproven(ctx.object).missing


def _costs(ctx: Pass) -> plan.Costs:
    users = ctx.referrers()
    key = (ctx.namespace, ctx.name)
    ledger = costs.advanced(ctx.clouds.ledgers.get(key), ctx.status.get("costs"), costs.accrued_by_uid(users), ctx.clock.now())
    ctx.clouds.ledgers[key] = ledger
    return plan.costs_of(users, ledger, ctx.spec.budget)


async def finalize(ctx: Pass) -> Outcome:
    """Not before the last object that needs it to take its own things down; then the rule and the queue."""
    if users := ctx.referrers():
        return status.in_use(ctx.status, plan.names(users))
    if ctx.spec.deletion_policy == "Delete" and ctx.status.get("accountID"):
        await BACKEND.delete(ctx)
    await BACKEND.forget(ctx)
    return Outcome(released=True)
