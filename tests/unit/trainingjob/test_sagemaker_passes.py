"""A TrainingJob on a local SageMaker, from its first pass to its deletion: one job an attempt, and nothing that costs is left."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from millrace.aws import errors as aws_errors
from millrace.aws.cloud import Cloud
from millrace.engine import conditions
from millrace.engine.cache import Cache, Key
from millrace.engine.controller import Pass
from millrace.engine.errors import NameConflict, understood
from millrace.engine.outcome import Outcome
from millrace.engine.progress import Board
from millrace.engine.settings import Settings
from millrace_controllers.trainingjob import CONTROLLER
from millrace_controllers.trainingjob.reconcile import SAGE_MAKER
from millrace_local_aws import LocalAws, local_aws
from support.aws import ACCOUNT, a_cloud, cloud_account
from support.clock import FakeClock

pytest.importorskip("millrace_local_aws.services.sagemaker", reason="this local AWS has no SageMaker yet")
Object = dict[str, Any]
UID = "0a1b2c3d-0000-4000-8000-000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker"
TRUST = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
ALL = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """A local AWS whose clock stands still until it is stepped, with a bucket, data, and an execution role."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with local_aws(speed=0) as made:
        iam, s3 = made.client("iam", account=ACCOUNT), made.client("s3", account=ACCOUNT)
        iam.create_role(RoleName="sagemaker", AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName="sagemaker", PolicyName="all", PolicyDocument=ALL)
        s3.create_bucket(Bucket="data")
        s3.put_object(Bucket="data", Key="train/a.csv", Body=b"1,2\n")
        yield made


class World:
    """One TrainingJob and its account."""

    def __init__(self, aws: LocalAws, cloud: Cloud, uid: str = UID, **spec: Any) -> None:
        self.aws, self.cloud, self.clock, self.cache = aws, cloud, FakeClock(), Cache()
        self.woken: list[Key] = []
        cloud.wake = self.woken.append
        self.account = cloud_account(namespace="team-a")
        self.cache.put("cloudaccounts", {**self.account, "metadata": {**self.account["metadata"], "resourceVersion": "1"}})
        job = {"algorithm": {"image": "repo/x:1"}, "roleARN": ROLE, "instanceType": "ml.g5.2xlarge", **spec.pop("sageMaker", {})}
        self.object: Object = {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "gpt", "namespace": "team-a", "uid": uid, "generation": 1},
            "spec": {
                "inputs": [{"name": "train", "uri": "s3://data/train/"}],
                "output": {"uri": "s3://data/models"},
                "sageMaker": job,
                **spec,
            },
            "status": {},
        }

    def a_pass(self) -> Pass:
        return Pass(self.object, CONTROLLER, None, self.cache, Board(), self.clock, Settings(), cloud=self.cloud)  # type: ignore[arg-type]

    async def once(self, finalize: bool = False) -> Outcome:
        try:
            made = await (CONTROLLER.finalize if finalize else CONTROLLER.reconcile)(self.a_pass())
        except Exception as raised:
            error = understood(raised)
            made = Outcome(CONTROLLER.explain(self.object, error) or conditions.for_error("Succeeded", error))
        self.object["status"] = conditions.desired_status(self.object["status"], made, 1, "2026-01-01T12:00:00Z")
        CONTROLLER.kind.status.model_validate(self.object["status"])
        return made

    def step(self, seconds: float) -> None:
        self.aws.admin.step(seconds)
        self.clock.advance(seconds)

    async def until(self, reason: str, passes: int = 30) -> None:
        """Passes with a minute between them."""
        for _ in range(passes):
            await self.once()
            if self.reason == reason:
                return
            self.step(60)
        raise AssertionError(f"{reason} was not reached: {self.told}")

    @property
    def told(self) -> Object:
        return dict(self.object["status"])

    @property
    def reason(self) -> str:
        return str((conditions.find(self.told.get("conditions"), "Succeeded") or {}).get("reason"))

    def jobs(self) -> dict[str, str]:
        found = self.aws.client("sagemaker", account=ACCOUNT).list_training_jobs()["TrainingJobSummaries"]
        return {j["TrainingJobName"]: j["TrainingJobStatus"] for j in sorted(found, key=lambda j: j["TrainingJobName"])}

    def plan(self, **plan: Any) -> None:
        self.aws.admin.call("POST", "sagemaker/plans", {"kind": "training", **plan})


@contextlib.asynccontextmanager
async def a_world(still: LocalAws, **spec: Any) -> AsyncIterator[World]:
    async with a_cloud(still) as cloud:
        yield World(still, cloud, **spec)


async def test_a_run_ends_with_a_model_that_was_read_back_and_a_cost(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}
        told = world.told
        assert told["model"]["uri"] == "s3://data/models/gpt-0a1b2c-1/output/model.tar.gz"
        assert told["model"]["bytes"] > 0
        assert told["externalID"].endswith(":training-job/gpt-0a1b2c-1")
        assert told["lineage"]["inputs"] == [{"name": "train", "path": "s3://data/train/"}]
        assert told["cost"]["hourlyUSD"] == "1.52"
        assert float(told["cost"]["accruedUSD"]) > 0
        before = world.told
        await world.once()
        assert world.told == before
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}


async def test_tags_tell_whose_the_job_is_and_the_account_hears_of_it(still: LocalAws) -> None:
    async with a_world(still, tags={"team": "a"}) as world:
        await world.once()
        pairs = still.client("sagemaker", account=ACCOUNT).list_tags(ResourceArn=world.told["externalID"])["Tags"]
        held = {t["Key"]: t["Value"] for t in pairs}
        assert (held["team"], held["millrace.dev/uid"], held["millrace.dev/kind"]) == ("a", UID, "TrainingJob")
        assert CONTROLLER.references(world.object) == (Key("cloudaccounts", "team-a", "default"),)
        assert CONTROLLER.external_ids(world.object) == (world.told["externalID"],)


async def test_a_job_whose_creation_was_never_noted_is_adopted_and_not_made_again(still: LocalAws) -> None:
    async with a_world(still) as world:
        for _ in range(3):
            await CONTROLLER.reconcile(world.a_pass())  # the operator dies before the status is written, three times
        assert list(world.jobs()) == ["gpt-0a1b2c-1"]
        await world.until("Succeeded")
        assert list(world.jobs()) == ["gpt-0a1b2c-1"]


async def test_a_job_of_that_name_that_is_somebody_elses_is_a_conflict(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.once()
        arn = world.told["externalID"]
        still.client("sagemaker", account=ACCOUNT).delete_tags(ResourceArn=arn, TagKeys=["millrace.dev/uid"])
        with pytest.raises(NameConflict, match="was not made for this object"):
            await SAGE_MAKER.create(world.a_pass(), ())


# plan, attempts, counted, uncounted, why
FAULTS = [
    ({"effect": "fail", "reason": "AlgorithmError: exit code 1"}, 1, 0, "a failed program is a restart"),
    ({"effect": "capacity"}, 0, 1, "no capacity is nobody's fault"),
]


@pytest.mark.parametrize(("fault", "counted", "uncounted", "why"), FAULTS)
async def test_another_attempt_follows_under_its_own_name(
    still: LocalAws, fault: Object, counted: int, uncounted: int, why: str
) -> None:
    async with a_world(still) as world:
        world.plan(**fault)
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Failed", "gpt-0a1b2c-2": "Completed"}, why
        restarts = world.told["restarts"]
        assert (restarts["count"], restarts["uncounted"]) == (counted, uncounted), why


async def test_what_sagemaker_refuses_for_good_ends_the_run_with_its_words(still: LocalAws) -> None:
    async with a_world(still) as world:
        world.plan(effect="fail", reason="ClientError: Data download failed: no such key")
        await world.until("JobRefused")
        message = (conditions.find(world.told["conditions"], "Succeeded") or {})["message"]
        assert "ClientError: Data download failed: no such key" in message
        assert len(world.jobs()) == 1


async def test_a_job_that_somebody_stopped_is_no_success_and_is_followed_by_another(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.once()
        still.client("sagemaker", account=ACCOUNT).stop_training_job(TrainingJobName="gpt-0a1b2c-1")
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Stopped", "gpt-0a1b2c-2": "Completed"}


async def test_suspension_stops_what_costs_and_the_run_goes_on_later(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.once()
        world.step(120)
        world.object["spec"]["suspend"] = True
        for _ in range(4):
            await world.once()
            world.step(60)
        assert world.reason == "Suspended"
        assert world.jobs() == {"gpt-0a1b2c-1": "Stopped"}
        world.object["spec"]["suspend"] = False
        await world.until("Succeeded")
        assert world.jobs()["gpt-0a1b2c-2"] == "Completed"


async def test_deletion_stops_the_job_and_says_done_only_when_it_has_stopped(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.once()
        assert not (await world.once(finalize=True)).released
        world.step(300)
        assert (await world.once(finalize=True)).released
        assert world.jobs() == {"gpt-0a1b2c-1": "Stopped"}


async def test_deleting_one_that_never_began_needs_no_account(still: LocalAws) -> None:
    async with a_world(still) as world:
        world.cache.remove("cloudaccounts", world.account)
        assert (await world.once(finalize=True)).released
        assert world.jobs() == {}


async def test_the_same_object_made_again_finds_its_own_record(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.until("Succeeded")
        again = World(still, world.cloud, uid="ffffffff-0000-4000-8000-000000000000")
        await again.until("AlreadyDone", passes=2)
        assert again.told["model"]["uri"] == world.told["model"]["uri"]
        assert list(world.jobs()) == ["gpt-0a1b2c-1"]


async def test_data_goes_only_where_the_policy_says_so(still: LocalAws) -> None:
    async with a_world(still, dataPolicy="Delete") as world:
        await world.until("Succeeded")
        assert (await world.once(finalize=True)).released
        keys = [o["Key"] for o in still.client("s3", account=ACCOUNT).list_objects_v2(Bucket="data").get("Contents", [])]
        assert keys == ["train/a.csv"]


async def test_a_quota_is_waited_for_and_named(still: LocalAws) -> None:
    async with a_world(still) as world:
        still.admin.add_fault(
            "error", service="sagemaker", operation="CreateTrainingJob", code="ResourceLimitExceeded", status=400, times=1,
            message="The account-level service limit 'ml.g5.2xlarge for training job usage' is 0 Instances",
        )  # fmt: skip
        await world.once()
        assert world.reason == "QuotaExceeded"
        await world.until("Succeeded")


async def test_an_input_that_is_not_there_yet_is_waited_for(still: LocalAws) -> None:
    async with a_world(still, inputs=[{"name": "train", "uri": "s3://data/later/"}]) as world:
        await world.once()
        assert world.reason == "RetryingAfterError"
        still.client("s3", account=ACCOUNT).put_object(Bucket="data", Key="later/a.csv", Body=b"1")
        await world.until("Succeeded")


async def test_a_spent_budget_lets_nothing_begin(still: LocalAws) -> None:
    async with a_world(still) as world:
        held = world.cache.get(Key("cloudaccounts", "team-a", "default"))
        assert held is not None
        held["spec"]["budget"] = {"monthlyUSD": "1", "onExceeded": "Block"}
        held["status"]["conditions"].append(
            {"type": "WithinBudget", "status": "False", "message": "The month has cost 1 USD or more"}
        )
        await world.once()
        assert world.reason == "BudgetExceeded"
        assert world.jobs() == {}


async def test_without_an_account_it_waits_and_says_for_what(still: LocalAws) -> None:
    async with a_world(still, accountRef={"name": "other"}) as world:
        await world.once()
        assert world.reason == "AccountNotReady"
        with pytest.raises(aws_errors.AccountNotReady, match="CloudAccount 'other' does not exist"):
            world.a_pass().account("other")
