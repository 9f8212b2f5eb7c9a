"""The operator dies after every call to AWS, in turn: there is exactly one training job an attempt, always.

Before a call is after the one before it: nothing outside is different.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from millrace.aws.account import Account
from millrace_controllers.trainingjob import CONTROLLER
from millrace_controllers.trainingjob.reconcile import SAGE_MAKER
from millrace_local_aws import LocalAws
from support.aws import ACCOUNT, a_cloud, allowing, make_role
from support.sagemaker import World, a_world

Object = dict[str, Any]


class Died(BaseException):
    """The process is gone: nothing after it happens, least of all a write of the status."""


class Mortal:
    """Counts the calls of all accounts, and dies at one of them, before its answer is seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.dies_at = 0, 0
        real = Account.call

        async def call(used: Account, service: str, operation: str, **parameters: Any) -> Object:
            self.calls += 1
            dies = self.calls == self.dies_at
            try:
                return await real(used, service, operation, **parameters)
            finally:
                if dies:
                    raise Died

        monkeypatch.setattr(Account, "call", call)

    def at(self, place: int) -> None:
        self.calls, self.dies_at = 0, place


async def lived_through(still: LocalAws, world: World) -> int:
    """Passes until the run has ended, with a new operator after each death; gives the number of deaths."""
    deaths = 0
    async with contextlib.AsyncExitStack() as operators:
        for _ in range(60):
            try:
                await world.once()
            except Died:
                deaths += 1
                world.cloud = await operators.enter_async_context(a_cloud(still))
                continue
            if world.told.get("completionTime"):
                return deaths
            world.step(60)
    raise AssertionError(f"the run did not end: {world.told}")


# how the first attempt ends, restarts that count, why
FIRST_ENDS: list[tuple[Object, int, str]] = [
    ({"effect": "fail", "reason": "AlgorithmError: exit code 1"}, 1, "the program failed"),
    ({"effect": "capacity"}, 0, "no capacity: the second is on another type"),
]
NO_QUOTA, FIRST, SECOND = "ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.m5.large"


@pytest.mark.parametrize(("first", "counted", "why"), FIRST_ENDS, ids=[row[-1] for row in FIRST_ENDS])
async def test_one_job_an_attempt_wherever_the_operator_dies(
    still: LocalAws, monkeypatch: pytest.MonkeyPatch, first: Object, counted: int, why: str
) -> None:
    """The first attempt fails, so that the second one's creation is among the calls; each is refused on a type without quota."""
    still.admin.set_quota("training", NO_QUOTA, 0, account=ACCOUNT)
    types = {"instanceTypes": [NO_QUOTA, FIRST, SECOND]}
    mortal, places, died = Mortal(monkeypatch), 40, 0
    async with a_cloud(still) as cloud:
        for place in range(1, places):
            six = f"{place:06x}"
            world = World(still, cloud, uid=f"{six}00-0000-4000-8000-000000000000", runID=six, sageMaker=types)
            world.plan(**first)
            mortal.at(place)
            deaths = await lived_through(still, world)
            if deaths == 0:
                break
            died += deaths
            own = {name: status for name, status in world.jobs().items() if six in name}
            assert own == {f"gpt-{six}-1": "Failed", f"gpt-{six}-2": "Completed"}, f"call {place}"
            assert world.told["restarts"]["count"] == counted, why
            assert world.told["instanceType"] == (FIRST if counted else SECOND), why
            assert still.admin.requests("sagemaker.CreateTrainingJob") <= 6, "a repeated creation is told that it exists"
            still.admin.reset_counters()
    assert 10 <= died < places - 1, "every call of the run was one to die at"


async def test_two_creates_at_the_same_time_make_one_job(still: LocalAws) -> None:
    async with a_world(still) as world:
        observed = await SAGE_MAKER.observe(world.a_pass())
        assert observed.current.number == 1
        await asyncio.gather(*(CONTROLLER.reconcile(world.a_pass()) for _ in range(5)))
        assert list(world.jobs()) == ["gpt-0a1b2c-1"]


async def test_a_job_that_is_deleted_behind_the_operators_back_is_followed_by_another(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.once()
        sagemaker = still.client("sagemaker", account=ACCOUNT)
        sagemaker.stop_training_job(TrainingJobName="gpt-0a1b2c-1")
        world.step(300)
        sagemaker.delete_training_job(TrainingJobName="gpt-0a1b2c-1")
        world.step(300)
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-2": "Completed"}


async def test_a_denied_role_is_named_and_the_run_goes_on_when_it_is_granted(still: LocalAws) -> None:
    still.admin.settings(enforce_iam=True)
    external = "0d9c2f1e-cluster/team-a"
    role = make_role(still, external_id=external, actions=("sagemaker:*", "s3:*", "sts:*"))
    async with a_world(still) as world:
        world.account["spec"]["roleARN"] = role
        await world.once()
        assert world.reason == "PermissionDenied"
        used = world.a_pass().account()
        assert [(m.action, m.identity) for m in used.missing] == [("iam:PassRole", role)]
        policy = allowing("sagemaker:*", "s3:*", "sts:*", "iam:PassRole")
        still.client("iam", account=ACCOUNT).put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=policy)
        await world.until("Succeeded")
        assert used.missing == ()


async def test_throttled_it_waits_for_its_turns_and_gets_there(still: LocalAws) -> None:
    for operation in ("CreateTrainingJob", "DescribeTrainingJob"):
        still.admin.add_fault("throttle", service="sagemaker", operation=operation, per_second=2.0, burst=1.0)
    async with a_world(still) as world:
        seen: set[str] = set()
        for _ in range(60):
            await world.once()
            seen.add(world.reason)
            if world.reason == "Succeeded":
                break
            world.step(30)
        assert world.reason == "Succeeded", seen
        assert "RetryingAfterError" in seen
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}


async def test_credentials_that_expire_in_mid_flight_disturb_nothing(still: LocalAws) -> None:
    role = make_role(still, external_id="0d9c2f1e-cluster/team-a")
    async with a_world(still) as world:
        world.account["spec"]["roleARN"] = role
        await world.once()
        still.admin.expire_credentials("millrace")
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}
