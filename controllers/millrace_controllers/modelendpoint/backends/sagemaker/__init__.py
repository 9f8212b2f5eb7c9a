"""The backend `sageMaker`: model, configuration and endpoint, each made once and found again by name.

The endpoint's name is a function of name and uid; a model and a configuration of one name belong to each revision and instance
type. An endpoint that an earlier object of the same name left behind (deletionPolicy Retain) is found by its tags and taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from millrace.api.v1alpha1.modelendpoint import Probe, ProbeExpectation
from millrace.aws import hub as cards
from millrace.aws import naming, quotas, tags
from millrace.aws.errors import CallError, InUse, NotFound, QuotaExceeded
from millrace.aws.listing import Listed
from millrace.engine.controller import Pass
from millrace.engine.errors import NameConflict, Refused
from millrace.podside import generated
from millrace_controllers.modelendpoint import idle
from millrace_controllers.modelendpoint.backends.sagemaker import hub, requests
from millrace_controllers.modelendpoint.errors import PackageNotReady
from millrace_controllers.modelendpoint.observed import Answer, Hosted, Measured, Stage

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
_STAGES = {
    "Creating": Stage.CREATING,
    "InService": Stage.SERVING,
    "Updating": Stage.UPDATING,
    "SystemUpdating": Stage.UPDATING,
    "RollingBack": Stage.ROLLING_BACK,
    "Failed": Stage.FAILED,
    "OutOfService": Stage.MIXED,
    "UpdateRollbackFailed": Stage.MIXED,
    "Deleting": Stage.DELETING,
}
_NAME_LIMIT = 63 - len("-000000000000-0")
"""Of an endpoint, with room for the names of configurations."""
_PATIENCE = 60
"""Seconds that SageMaker gives a container to answer."""
_SHOWN = 200
_LOG_LINES = 5


class NoRoom(Exception):
    """The account has no quota for an instance type."""


@dataclass(frozen=True)
class SageMakerHost:
    """Serves by SageMaker, as one account."""

    name = "sageMaker"

    def account(self, ctx: Pass) -> Account:
        """The account of spec.accountRef. Raises AccountNotReady."""
        return ctx.account(ctx.spec.account)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def observe(self, ctx: Pass) -> Hosted:
        """The endpoint as it is, ours or taken over; MISSING where there is none. Raises NameConflict for somebody else's."""
        account, known = self.account(ctx), (ctx.status.get("sageMaker") or {}).get("endpointName")
        name = known or await self._retained(ctx, account) or endpoint_name(ctx.object)
        found = await account.find("sagemaker", "DescribeEndpoint", EndpointName=name)
        if found is None:
            return Hosted(name)
        try:
            if ctx.status.get("externalID") != found["EndpointArn"]:
                await self._claim(ctx, account, found)
        except NotFound:  # it went between two calls
            return Hosted(name)
        return hosted(found, await self._variant(account, found))

    async def _variant(self, account: Account, found: Object) -> Object:
        """What the serving configuration asks for: an endpoint does not tell its instance type."""
        name = found.get("EndpointConfigName", "")
        config = await account.find("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name) if name else None
        return dict((config or {}).get("ProductionVariants", [{}])[0])

    async def _retained(self, ctx: Pass, account: Account) -> str | None:
        """Name of an endpoint that an earlier object of this name left."""
        listed = await account.items("sagemaker", "ListEndpoints", "Endpoints", NameContains=f"{ctx.name.replace('.', '-')}-")
        for found in (e for e in listed if _made_for(ctx.name, e["EndpointName"])):
            with contextlib.suppress(NotFound):
                marks = await self._tags(account, found["EndpointArn"])
                if _is_heir(ctx, account, marks):
                    return str(found["EndpointName"])
        return None

    async def _claim(self, ctx: Pass, account: Account, found: Object) -> None:
        """Look whose it is; what an earlier object of this name left is ours from now on."""
        marks = await self._tags(account, found["EndpointArn"])
        if tags.is_of(marks, ctx.uid):
            return
        if not _is_heir(ctx, account, marks):
            raise NameConflict(f"endpoint {found['EndpointName']!r} exists and was not made for this object")
        await account.call("sagemaker", "AddTags", ResourceArn=found["EndpointArn"], Tags=self._marks(ctx, account))

    async def _tags(self, account: Account, arn: str) -> dict[str, str]:
        return tags.as_map(await account.items("sagemaker", "ListTags", "Tags", ResourceArn=arn))

    def watch(self, ctx: Pass, found: Hosted) -> None:
        """Wake the object when the endpoint's state changes, by the one listing that all endpoints of the account share."""
        account = self.account(ctx)

        async def listed() -> Listed:
            pages = [page async for page in account.pages("sagemaker", "ListEndpoints", MaxResults=100)]
            things = {e["EndpointArn"]: e["EndpointStatus"] for page in pages for e in page["Endpoints"]}
            return Listed(things, len(pages))

        if found.arn:
            account.shared("sagemaker-endpoints", listed).watch(found.arn, found.state, ctx.key)

    async def card(self, ctx: Pass, version: str | None) -> cards.Card:
        """The card of the hub's model. Raises Refused where the Region's hub has none."""
        account, asked = self.account(ctx), ctx.spec.model.jump_start
        found = await cards.find(account, asked.model_id, version)
        if found is None:
            raise Refused(cards.none_such(account.region, asked.model_id, version, hub.PLACE))
        return found

    # -- acting ----------------------------------------------------------------------------------------------------

    async def create(self, ctx: Pass, found: Hosted, config: str, recipe: requests.Recipe, instance_type: str) -> None:
        """Make what is not there yet, the endpoint last. Raises NoRoom where the account has no quota for the type."""
        account = self.account(ctx)
        account.check_budget()
        await self._prepare(ctx, account, config, recipe, instance_type)
        wanted = {"EndpointName": found.name, "EndpointConfigName": config, "Tags": self._marks(ctx, account)}
        try:
            await account.make("sagemaker", "CreateEndpoint", **wanted)
        except QuotaExceeded as error:
            raise NoRoom(error.message) from error

    async def update(self, ctx: Pass, found: Hosted, config: str, recipe: requests.Recipe, instance_type: str) -> None:
        """Move the endpoint to a configuration; how many instances autoscaling had chosen stays. Raises NoRoom."""
        account = self.account(ctx)
        account.check_budget()
        await self._prepare(ctx, account, config, recipe, instance_type)
        wanted = {"EndpointName": found.name, "EndpointConfigName": config, "RetainAllVariantProperties": True}
        try:
            await account.call("sagemaker", "UpdateEndpoint", **wanted)
        except QuotaExceeded as error:
            raise NoRoom(error.message) from error

    async def ask_for_more(self, ctx: Pass, refusals: Iterable[str]) -> str:
        """How it stands with an increase of a quota that was refused; "" where none may be asked for."""
        return await quotas.asked(self.account(ctx), refusals)

    async def _prepare(self, ctx: Pass, account: Account, name: str, recipe: requests.Recipe, instance_type: str) -> None:
        marks = self._marks(ctx, account)
        if recipe.algorithm_arn:
            recipe = replace(recipe, package_arn=await self._packaged(account, requests.package(name, recipe, marks)))
        await account.make("sagemaker", "CreateModel", **requests.model(name, ctx.spec, recipe, marks))
        await account.make("sagemaker", "CreateEndpointConfig", **requests.config(name, ctx.spec, recipe, instance_type, marks))

    async def _packaged(self, account: Account, wanted: Object) -> str:
        """ARN of the package, made where it is not there. Raises PackageNotReady, and Refused where SageMaker cannot make it."""
        await account.make("sagemaker", "CreateModelPackage", **wanted)
        name = wanted["ModelPackageName"]
        found = await account.call("sagemaker", "DescribeModelPackage", ModelPackageName=name)
        if found["ModelPackageStatus"] == "Completed":
            return str(found["ModelPackageArn"])
        if found["ModelPackageStatus"] != "Failed":
            raise PackageNotReady(f"SageMaker puts the algorithm's model into package {name}: {found['ModelPackageStatus']}")
        checks = found["ModelPackageStatusDetails"]["ValidationStatuses"]
        await account.remove("sagemaker", "DeleteModelPackage", ModelPackageName=name)  # so that it can be tried again
        why = next((check["FailureReason"] for check in checks if check.get("FailureReason")), "SageMaker does not say why")
        raise Refused(f"SageMaker could not put the algorithm's model into package {name}: {why}")

    async def scale(self, ctx: Pass, found: Hosted) -> None:
        """As many instances as the spec says, or between which numbers."""
        account = self.account(ctx)
        if ctx.spec.sage_maker.replicas.target_invocations_per_instance:
            wanted = requests.scalable_target(found.name, ctx.spec)
            await account.call("application-autoscaling", "RegisterScalableTarget", **wanted)
            await account.call("application-autoscaling", "PutScalingPolicy", **requests.scaling_policy(found.name, ctx.spec))
            return
        await self._unscale(ctx, account, found.name)
        if found.desired != ctx.spec.sage_maker.replicas.min:
            weights = [{"VariantName": requests.VARIANT, "DesiredInstanceCount": ctx.spec.sage_maker.replicas.min}]
            await account.call(
                "sagemaker",
                "UpdateEndpointWeightsAndCapacities",
                EndpointName=found.name,
                DesiredWeightsAndCapacities=weights,
            )

    async def _unscale(self, ctx: Pass, account: Account, endpoint: str) -> None:
        """Its policies go with the target. What was never registered asks for no permission."""
        if requests.BETWEEN in str((ctx.status.get("sageMaker") or {}).get("scaled", "")):
            await account.remove("application-autoscaling", "DeregisterScalableTarget", **requests.scaled(endpoint))

    async def probe(self, ctx: Pass, found: Hosted, body: Object, probe: Probe | None) -> Answer:
        """Ask the golden request. Raises what keeps it from being asked."""
        seconds = probe.timeout_seconds if probe else _PATIENCE
        try:
            async with asyncio.timeout(seconds):
                said, took = await self._invoked(self.account(ctx), found.name, json.dumps(body).encode())
        except TimeoutError:
            return Answer(False, f"no answer in {seconds} s")
        except CallError as error:
            if error.where.code in {"ModelError", "ModelNotReadyException"}:
                return Answer(False, error.message)
            raise
        measured = Measured(round(1000 * took), generated.tokens(said))
        return replace(judged(said, probe.expect if probe else None), measured=measured)

    async def _invoked(self, account: Account, endpoint: str, body: bytes) -> tuple[str, float]:
        answer, took = await account.timed(
            "sagemaker-runtime",
            "InvokeEndpoint",
            EndpointName=endpoint,
            ContentType="application/json",
            Accept="application/json",
            Body=body,
        )
        told: bytes = answer["Body"]
        return told.decode("utf-8", "replace"), took

    async def last_asked(self, ctx: Pass, endpoint: str, begin: datetime) -> datetime | None:
        """About when the newest request came, of those since `begin`; the golden request is one, too."""
        now = ctx.clock.now()
        seconds = idle.period(begin, now)
        dimensions = {"EndpointName": endpoint, "VariantName": requests.VARIANT}
        answer = await self.account(ctx).call(
            "cloudwatch",
            "GetMetricStatistics",
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=begin,
            EndTime=now,
            Period=seconds,
            Statistics=["Sum"],
        )
        return idle.newest(answer.get("Datapoints") or (), seconds, now)

    async def words(self, ctx: Pass, found: Hosted) -> str:
        """The last lines of the containers' log; "" where there are none, or they may not be read."""
        account, group = self.account(ctx), f"{requests.LOG_GROUP}/{found.name}"
        try:
            newest = {"logGroupName": group, "orderBy": "LastEventTime", "descending": True, "limit": 1}
            streams = await account.call("logs", "DescribeLogStreams", **newest)
            if not streams["logStreams"]:
                return ""
            which = {"logGroupName": group, "logStreamName": streams["logStreams"][0]["logStreamName"]}
            told = await account.call("logs", "GetLogEvents", **which, limit=_LOG_LINES, startFromHead=False)
        except CallError:
            return ""
        return " | ".join(event["message"].strip() for event in told["events"])

    # -- removing --------------------------------------------------------------------------------------------------

    async def remove(self, ctx: Pass, found: Hosted) -> bool:
        """Take the endpoint away; True once it is gone. What bills goes first: scaling without an endpoint costs nothing."""
        account = self.account(ctx)
        if found.stage not in {Stage.MISSING, Stage.DELETING}:
            with contextlib.suppress(InUse):
                await account.remove("sagemaker", "DeleteEndpoint", EndpointName=found.name)
        await self._unscale(ctx, account, found.name)
        return found.stage is Stage.MISSING

    async def clean(self, ctx: Pass, found: Hosted, keep: Iterable[str]) -> None:
        """Delete configurations, models and packages of this endpoint that nothing uses any more, the configuration first."""
        account, kept = self.account(ctx), set(keep)
        own = re.compile(re.escape(found.name) + r"-[0-9a-f]{12}-[0-9]+$")
        which = {"NameContains": f"{found.name}-"}
        configs = await account.items("sagemaker", "ListEndpointConfigs", "EndpointConfigs", **which)
        models = await account.items("sagemaker", "ListModels", "Models", **which)
        for name in sorted(c["EndpointConfigName"] for c in configs):
            if own.fullmatch(name) and name not in kept:
                await account.remove("sagemaker", "DeleteEndpointConfig", EndpointConfigName=name)
        for name in sorted(m["ModelName"] for m in models):
            if own.fullmatch(name) and name not in kept:
                await account.remove("sagemaker", "DeleteModel", ModelName=name)
        if _packages(ctx):
            await self._unpackage(account, which, lambda name: own.fullmatch(name) is not None and name not in kept)

    async def _unpackage(self, account: Account, which: Object, stale: Callable[[str], bool]) -> None:
        """What was never made asks for no permission."""
        packages = await account.items("sagemaker", "ListModelPackages", "ModelPackageSummaryList", **which)
        for name in sorted(p["ModelPackageName"] for p in packages if stale(p["ModelPackageName"])):
            await account.remove("sagemaker", "DeleteModelPackage", ModelPackageName=name)

    async def delete(self, ctx: Pass) -> bool:
        """Endpoint, configurations, models; True when nothing is left. What is somebody else's is not ours to take away."""
        try:
            found = await self.observe(ctx)
        except NameConflict:
            found = Hosted(endpoint_name(ctx.object))
        if not await self.remove(ctx, found):
            return False
        await self.clean(ctx, found, ())
        return True

    def never_began(self, ctx: Pass) -> bool:
        """Nothing was ever made."""
        return not ctx.status.get("sageMaker") and ctx.never_answered(ctx.spec.account)

    def _marks(self, ctx: Pass, account: Account) -> list[Object]:
        return tags.as_list(tags.of({"kind": "ModelEndpoint", **ctx.object}, account.cluster_id, ctx.spec.tags))


def _packages(ctx: Pass) -> bool:
    """Whether there may be model packages, even where the status that tells of the first was never written."""
    of_algorithm = ctx.spec.model.training_job_ref is not None and ctx.spec.sage_maker.image is None
    return of_algorithm or bool((ctx.status.get("sageMaker") or {}).get("packaged"))


def endpoint_name(owner: Object) -> str:
    """A function of name and uid."""
    return naming.thing_name(owner["metadata"]["name"], owner["metadata"]["uid"], limit=_NAME_LIMIT)


def _made_for(name: str, endpoint: str) -> bool:
    """Whether an endpoint has a name that Millrace would give it for some object of this name."""
    return endpoint[-7:-6] == "-" and endpoint == naming.thing_name(name, endpoint[-6:], limit=_NAME_LIMIT)


def config_name(endpoint: str, revision: str, place: int) -> str:
    """Of a revision on the instance type of that place in the spec."""
    return f"{endpoint}-{revision}-{place}"


def hosted(found: Object, variant: Object) -> Hosted:
    """What DescribeEndpoint tells, and the variant of the configuration that serves."""
    running: Object = next((v for v in found.get("ProductionVariants") or () if v["VariantName"] == requests.VARIANT), {})
    pending = found.get("PendingDeploymentSummary") or {}
    return Hosted(
        name=found["EndpointName"],
        stage=_STAGES.get(found["EndpointStatus"], Stage.UPDATING),
        state=found["EndpointStatus"],
        arn=found["EndpointArn"],
        config=found.get("EndpointConfigName", ""),
        pending=pending.get("EndpointConfigName", ""),
        instance_type=variant.get("InstanceType", ""),
        instances=running.get("CurrentInstanceCount", 0),
        desired=running.get("DesiredInstanceCount", 0),
        failure=found.get("FailureReason", ""),
        changed=found.get("LastModifiedTime"),
    )


def judged(said: str, expect: ProbeExpectation | None) -> Answer:
    """Whether an answer is as expected; any is, where nothing is."""
    shown = " ".join(said.split())[:_SHOWN]
    if expect is not None and expect.contains and expect.contains not in said:
        return Answer(False, f"the answer does not contain {expect.contains!r}: {shown}")
    if expect is not None and expect.matches and re.search(expect.matches, said) is None:
        return Answer(False, f"the answer does not match {expect.matches!r}: {shown}")
    return Answer(True, shown)


def _is_heir(ctx: Pass, account: Account, marks: dict[str, str]) -> bool:
    """Made by this cluster for a ModelEndpoint of this name that is not there any more: this object has its name now."""
    metadata = ctx.object["metadata"]
    wanted = {
        tags.CLUSTER: account.cluster_id,
        tags.NAMESPACE: metadata["namespace"],
        tags.KIND: "ModelEndpoint",
        tags.NAME: metadata["name"],
    }
    return bool(account.cluster_id) and all(marks.get(key) == value for key, value in wanted.items())
