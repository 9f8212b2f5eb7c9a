"""Runs a TrainingJob as SageMaker training jobs, one an attempt.

CreateTrainingJob has no idempotency token: its name, a function of uid and attempt, keeps an attempt from being made twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from millrace.aws import costs, errors, hub, quotas, subscriptions, tags
from millrace.aws.listing import Listed
from millrace.data.prices import TRAINING
from millrace.engine import conditions, reasons
from millrace.engine.clock import seconds_since
from millrace.engine.controller import Pass
from millrace.engine.errors import NameConflict, Refused, Waiting
from millrace_controllers.trainingjob import instances, plan
from millrace_controllers.trainingjob.backends.sagemaker import algorithm, jumpstart, observe, record, request
from millrace_controllers.trainingjob.errors import UnfitForAlgorithm
from millrace_controllers.trainingjob.observed import Attempt, CloudJob, JobState, Observed, ResolvedInput, Verification

if TYPE_CHECKING:
    from decimal import Decimal

    from millrace.api.sagemaker import JumpStartModel
    from millrace.aws.account import Account

Object = dict[str, Any]
Inputs = tuple[ResolvedInput, ...]
_LIST = "sagemaker-training-jobs"
_REMEMBERED = 3600.0
"""Seconds that what an algorithm takes is believed: versions of a product have ARNs of their own."""


class SageMakerTrainer:
    """The backend of the member `sageMaker`. Raises the errors of millrace.aws.errors, which the engine knows."""

    name = "sageMaker"

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], dict[str, datetime]] = {}
        """When the jobs that are watched were created, by account: a listing need not go further back."""

    async def observe(self, ctx: Pass) -> Observed:
        """The current attempt's job, what still runs of the one before, and the model where the job is complete."""
        account, number = self._account(ctx), self._number(ctx)
        described = await self._described(account, request.attempt_name(ctx.object, number))
        current = observe.attempt(number, ctx.spec.sage_maker.instance_count, described)
        if described is not None:
            if ctx.status.get("externalID") != described["TrainingJobArn"]:
                await self._own(ctx, account, described)
            self._watch(ctx, account, described)
        elif (done := await self._done_before(ctx, account)) is not None:
            return Observed(_done(current), verification=Verification(ctx.uid, done["report"]))
        leftovers = await self._leftovers(ctx, account, number) if described is None else ()
        types = self._types(ctx)
        prices = self._prices(ctx, account)
        return Observed(
            current,
            leftovers,
            await self._verification(ctx, account, current),
            instance_type=_type_of(current, ctx.status) or types[0],
            prices=prices,
            estimated=costs.at_most([prices.get(name) for name in types], _seconds_at_most(ctx)),
        )

    def _account(self, ctx: Pass) -> Account:
        return ctx.account(ctx.spec.account)

    def _number(self, ctx: Pass) -> int:
        return int(ctx.status.get("endedAttempt") or 0) + 1

    def _types(self, ctx: Pass) -> tuple[str, ...]:
        return instances.in_line(ctx.spec.sage_maker.instance_types, instances.passed_over(ctx.status))

    def _prices(self, ctx: Pass, account: Account) -> dict[str, Decimal]:
        """Of an attempt on each type that the run may use or has used."""
        used = (u["instanceType"] for u in ctx.status.get("usage") or ())
        names = {*self._types(ctx), *used, ctx.status.get("instanceType") or ""}
        found = {name: ctx.clouds.prices.hourly(account.region, TRAINING, name) for name in names}
        return {name: price * int(ctx.spec.sage_maker.instance_count) for name, price in found.items() if price is not None}

    async def _described(self, account: Account, name: str) -> Object | None:
        return await account.find("sagemaker", "DescribeTrainingJob", TrainingJobName=name)

    async def _own(self, ctx: Pass, account: Account, described: Object) -> None:
        """Raises NameConflict for a job that was made for somebody else."""
        held = await account.items("sagemaker", "ListTags", "Tags", ResourceArn=described["TrainingJobArn"])
        if not tags.is_of(tags.as_map(held), ctx.uid):
            raise NameConflict(f"training job {described['TrainingJobName']!r} exists and was not made for this object")

    def _watch(self, ctx: Pass, account: Account, described: Object) -> None:
        """Jobs that run are listed for all objects together; one that is there no more, or changed, wakes its object."""
        name, begun = described["TrainingJobName"], self._begun.setdefault((account.namespace, account.name), {})
        listed = account.shared(_LIST, lambda: _running(account, begun))
        if observe.runs(described):
            begun[name] = described["CreationTime"]
            listed.watch(name, observe.seen(described), ctx.key)
        else:
            begun.pop(name, None)
            listed.unwatch(name)

    async def _leftovers(self, ctx: Pass, account: Account, number: int) -> tuple[str, ...]:
        """The attempt before may still be stopping."""
        if number == 1:
            return ()
        name = request.attempt_name(ctx.object, number - 1)
        return (f"training job {name}",) if observe.runs(await self._described(account, name)) else ()

    async def _done_before(self, ctx: Pass, account: Account) -> Object | None:
        """The record of this very run, made by an object of this name that is no more; only before the first attempt."""
        if ctx.status.get("attempt"):
            return None
        bucket, key = record.place(ctx.object, ctx.spec)
        found = await account.find("s3", "GetObject", Bucket=bucket, Key=key)
        told = record.of_this_run(found["Body"], ctx.spec) if found else None
        if told is None or told.get("uid") == ctx.uid:
            return None
        return told if await self._is_there(account, told["report"]) else None

    async def _is_there(self, account: Account, report: Object) -> bool:
        """Whether the model that a record tells of is where it was, and as it was."""
        model = report.get("model") or {}
        bucket, key = record.bucket_and_key(str(model.get("uri", "")))
        head = await account.find("s3", "HeadObject", Bucket=bucket, Key=key, ChecksumMode="ENABLED") if key else None
        return head is not None and record.digest(head) == model.get("digest")

    async def _verification(self, ctx: Pass, account: Account, current: Attempt) -> Verification | None:
        """The model read back from where the job says it is; then the record. Both again and again to the same end."""
        if current.job is not JobState.COMPLETE or current.cloud is None:
            return None
        report = await self._read_back(ctx, account, current.cloud)
        if report["ok"]:
            bucket, key = record.place(ctx.object, ctx.spec)
            await account.call("s3", "PutObject", Bucket=bucket, Key=key, Body=record.made(ctx.object, ctx.spec, report))
        return Verification(ctx.uid, report)

    async def _read_back(self, ctx: Pass, account: Account, job: CloudJob) -> Object:
        bucket, key = record.bucket_and_key(job.model_uri)
        head = await account.find("s3", "HeadObject", Bucket=bucket, Key=key, ChecksumMode="ENABLED") if key else None
        return record.missing(job.model_uri) if head is None else record.report(ctx.uid, job.model_uri, head, dict(job.metrics))

    async def create(self, ctx: Pass, wanted: Inputs) -> None:
        """Create the attempt's job on the first instance type that there is quota for; that it exists and is ours is success.
        Raises NameConflict, BudgetExceeded, QuotaExceeded, what `_check` does, and Waiting for an input that is not
        there.

        Which type refused a job for want of quota need not be remembered: nothing was made, and the name is taken once only.
        """
        account = self._account(ctx)
        account.check_budget()
        await self._check(ctx, account)
        refused: list[errors.QuotaExceeded] = []
        for instance_type in self._types(ctx):
            try:
                return await self._created(ctx, account, instance_type, wanted)
            except errors.QuotaExceeded as full:
                refused.append(full)
        said = list(dict.fromkeys(each.message for each in refused))
        increase = await quotas.asked(account, said)
        raise errors.QuotaExceeded(refused[-1].where, "; ".join([*said, *([increase] if increase else [])]))

    async def _check(self, ctx: Pass, account: Account) -> None:
        """Before a run begins: one under way cannot be changed, and was checked. Raises Refused, or what jumpstart.check does."""
        wanted = ctx.spec.sage_maker.algorithm
        if ctx.status.get("startTime"):
            return
        if wanted.jump_start is not None:
            jumpstart.check(await self._card(account, wanted.jump_start), wanted.jump_start, ctx.spec)
        if wanted.algorithm_arn is not None:
            await self._check_algorithm(ctx, account, wanted.algorithm_arn)

    async def _card(self, account: Account, asked: JumpStartModel) -> hub.Card:
        async def read() -> Object | None:
            found = await hub.find(account, asked.model_id, asked.version)
            return None if found is None else {"card": found}

        held = await account.known(("hub", asked.model_id, asked.version), _REMEMBERED, read)
        if held is None:
            raise Refused(hub.none_such(account.region, asked.model_id, asked.version, jumpstart.PLACE))
        found: hub.Card = held["card"]
        return found

    async def licence(self, ctx: Pass) -> Object | None:
        """The licence that was accepted, and as far as the cluster knows by whom; None where none had to be. Told once."""
        asked = ctx.spec.sage_maker.algorithm.jump_start
        if asked is None or not asked.accept_eula or ctx.status.get("licence"):
            return None
        card = await self._card(self._account(ctx), asked)
        if not card.gated:
            return None
        found = await ctx.manager_of("spec", "sageMaker", "algorithm", "jumpStart", "acceptEULA")
        who = {"acceptedBy": found.name, "acceptedAt": found.time} if found else {}
        told = {"modelID": asked.model_id, "version": card.version, "uri": card.licence, **who}
        return {name: value for name, value in told.items() if value}

    async def _check_algorithm(self, ctx: Pass, account: Account, arn: str) -> None:
        described = await self._algorithm(account, arn)
        if found := "; ".join(algorithm.problems(described["TrainingSpecification"], ctx.spec)):
            raise UnfitForAlgorithm(f"the algorithm does not take it: {found}")

    async def _algorithm(self, account: Account, arn: str) -> Object:
        async def read() -> Object | None:
            return await account.find("sagemaker", "DescribeAlgorithm", AlgorithmName=arn)

        found = await account.known(("algorithm", arn), _REMEMBERED, read)
        if found is None:
            raise UnfitForAlgorithm(f"{account.region} has no algorithm {arn}: a product has an ARN for each Region and version")
        return found

    async def _created(self, ctx: Pass, account: Account, instance_type: str, wanted: Inputs) -> None:
        owned = tags.of(ctx.object, account.cluster_id, ctx.spec.tags)
        spent = plan.running_seconds(ctx.status, ctx.clock.now())
        model = ctx.spec.sage_maker.algorithm.jump_start
        tuned = jumpstart.recipe(await self._card(account, model), model, ctx.spec, instance_type) if model else None
        asked = request.create(ctx.object, ctx.spec, self._number(ctx), instance_type, wanted, owned, spent, tuned)
        try:
            made = await account.make("sagemaker", "CreateTrainingJob", **asked)
        except errors.NotFound as missing:
            raise Waiting(missing.message) from missing
        except errors.NotSubscribed as refusal:
            raise await self._named(ctx, account, refusal) from refusal
        if made is None:
            await self._adopt(ctx, account, asked["TrainingJobName"])

    async def _named(self, ctx: Pass, account: Account, refusal: errors.NotSubscribed) -> errors.NotSubscribed:
        """Which product it is that must be subscribed to, and where; looked at again the later, the longer it has waited."""
        wanted = ctx.spec.sage_maker.algorithm
        arn = wanted.algorithm_arn
        product = (await self._algorithm(account, arn)).get("ProductId") if arn else None
        told = f"{refusal.message} Its product is {product}." if product else refusal.message
        made = errors.NotSubscribed(refusal.where, f"{told} Subscribe at {wanted.product_page}" if wanted.product_page else told)
        made.after = subscriptions.look_again(_waited(ctx))
        return made

    async def _adopt(self, ctx: Pass, account: Account, name: str) -> None:
        await self._own(ctx, account, await account.call("sagemaker", "DescribeTrainingJob", TrainingJobName=name))

    def warnings(self, ctx: Pass) -> tuple[str, ...]:
        """Nothing that runs as asked is known to be meant otherwise."""
        return ()

    async def verify(self, ctx: Pass) -> None:
        """The model is read back whenever a complete job is observed."""

    async def clear(self, ctx: Pass, *, keep_ended: bool) -> None:
        """Stop what runs of this attempt and the one before; what has ended costs nothing and keeps its logs."""
        if _succeeded(ctx):
            return
        account, number = self._account(ctx), self._number(ctx)
        for each in {max(1, number - 1), number}:
            name = request.attempt_name(ctx.object, each)
            described = await self._described(account, name)
            if described is not None and described["TrainingJobStatus"] == "InProgress":
                await self._stop(account, name)

    async def _stop(self, account: Account, name: str) -> None:
        """One that ended between two calls is refused as invalid: it is stopped."""
        try:
            await account.call("sagemaker", "StopTrainingJob", TrainingJobName=name)
        except errors.Invalid:
            if observe.runs(await self._described(account, name)):
                raise

    async def delete(self, ctx: Pass) -> bool:
        """Stop everything; True when nothing runs. Where no account ever answered nothing can have been made."""
        if self._never_began(ctx) or _succeeded(ctx):
            return True
        account = self._account(ctx)
        await self.clear(ctx, keep_ended=False)
        number = self._number(ctx)
        for each in {max(1, number - 1), number}:
            name = request.attempt_name(ctx.object, each)
            if observe.runs(await self._described(account, name)):
                return False
            self._begun.get((account.namespace, account.name), {}).pop(name, None)
        return True

    def _never_began(self, ctx: Pass) -> bool:
        return not ctx.status.get("attempt") and ctx.never_answered(ctx.spec.account)

    async def orphan(self, ctx: Pass) -> None:
        """A training job needs nobody: it runs on."""

    async def sweep(self, ctx: Pass) -> bool:
        """Delete what the run wrote below the output, and its record. True when gone."""
        if self._never_began(ctx):
            return True
        account = self._account(ctx)
        bucket, prefix = record.bucket_and_key(request.output_prefix(ctx.object, ctx.spec))
        try:
            keys = [o["Key"] for o in await account.items("s3", "ListObjectsV2", "Contents", Bucket=bucket, Prefix=prefix)]
        except errors.NotFound:  # the bucket is gone, and all that was in it
            return True
        _, own = record.place(ctx.object, ctx.spec)
        for begin in range(0, len(keys), 1000):
            some = [{"Key": key} for key in keys[begin : begin + 1000]]
            answer = await account.call("s3", "DeleteObjects", Bucket=bucket, Delete={"Objects": some, "Quiet": True})
            if kept := answer.get("Errors"):
                raise Waiting(
                    f"S3 keeps {len(kept)} objects below s3://{bucket}/{prefix}: {kept[0].get('Message') or kept[0].get('Code')}"
                )
        await account.remove("s3", "DeleteObject", Bucket=bucket, Key=own)
        return True


def _waited(ctx: Pass) -> float:
    """Seconds that the run has been waiting, where it is for its subscription; 0 where this is the first that is heard of it."""
    told = conditions.find(ctx.status.get("conditions"), "Succeeded") or {}
    if told.get("reason") != reasons.NOT_SUBSCRIBED.name:
        return 0.0
    return seconds_since(told["lastTransitionTime"], ctx.clock.now()) or 0.0


def _type_of(current: Attempt, status: Object) -> str:
    """Of the attempt that there is, or that was there and has vanished."""
    told = current.cloud.instance_type if current.cloud else ""
    return told or (str(status.get("instanceType") or "") if status.get("attemptStartTime") else "")


def _succeeded(ctx: Pass) -> bool:
    """Then nothing runs, and no account need be asked: each attempt had ended before the next began."""
    return (conditions.find(ctx.status.get("conditions"), "Succeeded") or {}).get("status") == "True"


def _seconds_at_most(ctx: Pass) -> int | None:
    return ctx.spec.limits.max_runtime_seconds if ctx.spec.limits else None


def _done(current: Attempt) -> Attempt:
    """As if the attempt had run: nothing does."""
    cloud = CloudJob(arn="", already_done=True)
    return Attempt(current.number, current.nodes, JobState.COMPLETE, None, cloud=cloud)


async def _running(account: Account, begun: Mapping[str, datetime]) -> Listed:
    """Training jobs that run, of those created since the oldest that is watched.

    AWS applies StatusEquals to each page after it was made: without a bound by time a listing would go through every job that the
    account ever had.
    """
    since = {"CreationTimeAfter": min(begun.values()) - timedelta(seconds=1)} if begun else {"StatusEquals": "InProgress"}
    things: dict[str, str] = {}
    calls = 0
    async for page in account.pages("sagemaker", "ListTrainingJobs", MaxResults=100, **since):
        calls += 1
        things |= {s["TrainingJobName"]: observe.entry(s) for s in page["TrainingJobSummaries"] if observe.runs(s)}
    return Listed(things, calls)
