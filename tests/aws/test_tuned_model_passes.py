"""A model that a vendor's algorithm tunes, from the run to the endpoint that serves it in the vendor's container, and to nothing."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING

import pytest

from millrace.aws import account as accounts
from support import hosting
from support.aws import ACCOUNT
from support.sagemaker import ROLE
from support.tuning import IMAGE, TYPE, tuned

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws


def packages(aws: LocalAws) -> list[str]:
    found = aws.client("sagemaker", account=ACCOUNT).list_model_packages()["ModelPackageSummaryList"]
    return [one["ModelPackageName"] for one in found]


@pytest.mark.proves("15.11")
async def test_what_an_algorithm_tuned_is_served_in_its_own_container(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        made = await world.once()
        assert world.said()[:2] == ("False", "Loading")
        assert "into package falcon-0a1b2c-" in world.said()[2]
        assert made.requeue_after == 5, "it takes seconds, and nobody tells"
        status = await world.until("Serving")
        client = aws.client("sagemaker", account=ACCOUNT)
        (name,) = packages(aws)
        model = client.describe_model(ModelName=name)
        assert model["PrimaryContainer"]["ModelPackageName"].endswith(f":model-package/{name}")
        assert model["EnableNetworkIsolation"], "a product of Marketplace runs in no other way"
        source = client.describe_model_package(ModelPackageName=name)["SourceAlgorithmSpecification"]["SourceAlgorithms"][0]
        assert source == {"AlgorithmName": status["model"]["algorithmARN"], "ModelDataUrl": status["model"]["uri"]}
        assert (status["model"]["trainingJob"], status["sageMaker"]["packaged"]) == ("gpt", True)


@pytest.mark.proves("15.11")
async def test_an_endpoint_of_that_name_which_somebody_else_made_is_refused(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        client = aws.client("sagemaker", account=ACCOUNT)
        data = {"Image": IMAGE, "ModelDataUrl": "s3://models/m.tar.gz"}
        client.create_model(ModelName="theirs", PrimaryContainer=data, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "main", "ModelName": "theirs", "InstanceType": TYPE, "InitialInstanceCount": 1}
        client.create_endpoint_config(EndpointConfigName="theirs", ProductionVariants=[variant])
        client.create_endpoint(EndpointName="falcon-0a1b2c", EndpointConfigName="theirs")
        await world.once()
        assert world.said()[:2] == ("False", "NameConflict")
        assert packages(aws) == []


async def test_a_package_that_failed_is_told_with_why_and_can_be_tried_again(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = accounts.Account.call
    broken = {
        "ModelPackageStatus": "Failed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [{"FailureReason": "no access"}]},
    }

    async def call(self: accounts.Account, service: str, operation: str, **given: object) -> object:
        answer = await real(self, service, operation, **given)
        return {**answer, **broken} if operation == "DescribeModelPackage" else answer

    async with tuned(aws) as world:
        with monkeypatch.context() as patched:
            patched.setattr(accounts.Account, "call", call)
            await world.once()
        assert world.said()[:2] == ("False", "InvalidSpec")
        assert "no access" in world.said()[2]
        assert packages(aws) == []
        await world.until("Serving")


async def test_deleting_it_leaves_no_package_though_no_status_told_of_one(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        await world.once()
        world.object["status"] = {}
        assert packages(aws)
        await world.gone()
        assert packages(aws) == []
        assert world.left() == {"endpoints": [], "configs": [], "models": []}


@pytest.mark.proves("15.17")
async def test_the_subscription_that_deletion_leaves_is_named(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        status = await world.until("Serving")
        assert float(status["cost"]["hourlyUSD"]) > 0
        await world.gone()
        (said,) = [event.message for event in world.events if event.reason == "SubscriptionStays"]
        assert status["model"]["algorithmARN"] in said
        assert world.left() == {"endpoints": [], "configs": [], "models": []}


async def test_another_model_takes_over_and_the_package_goes(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        await world.until("Serving")
        serving = {"roleARN": hosting.SERVING_ROLE, "instanceTypes": [TYPE], "image": hosting.IMAGE}
        world.change(model={"uri": "s3://models/m.tar.gz"}, sageMaker=serving)
        status = await world.until("Serving")
        assert status["model"] == {"uri": "s3://models/m.tar.gz"}
        assert packages(aws) == []


async def test_a_run_without_an_algorithm_needs_an_image_to_be_served(aws: LocalAws) -> None:
    async with tuned(aws) as world:
        (job,) = copy.deepcopy(list(world.cache.all("trainingjobs")))
        job["spec"]["sageMaker"]["algorithm"] = {"image": IMAGE}
        job["metadata"]["resourceVersion"] = "2"
        world.cache.put("trainingjobs", job)
        await world.once()
        assert world.said()[:2] == ("False", "InvalidSpec")
        assert "spec.sageMaker.image must be set" in world.said()[2]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_an_operator_that_is_killed_makes_one_of_each(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    async with tuned(aws) as world:
        with contextlib.suppress(hosting.Killed), hosting.killed(at, after=after, monkeypatch=monkeypatch):
            await world.until("Serving")
        await world.until("Serving")
        assert len(packages(aws)) == 1
        assert {len(names) for names in world.left().values()} == {1}
        await world.gone()
        assert packages(aws) == []
