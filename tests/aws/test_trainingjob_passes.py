"""A TrainingJob on a local SageMaker, from its first pass to its deletion: one job an attempt, and nothing that costs is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.aws import errors as aws_errors
from millrace.aws import listing, plumbing, subscriptions
from millrace.aws.plumbing import Plumbing
from millrace.engine import conditions
from millrace.engine.cache import Key
from millrace.engine.errors import NameConflict
from millrace_controllers.trainingjob import CONTROLLER
from millrace_controllers.trainingjob.reconcile import SAGE_MAKER
from millrace_local_aws import LocalAws
from support.aws import ACCOUNT, until
from support.sagemaker import UID, World, a_world

Object = dict[str, Any]


async def test_a_run_ends_with_a_model_that_was_read_back_and_a_cost(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}
        told = world.told
        assert told["model"]["uri"] == "s3://data/models/gpt-0a1b2c-1/output/model.tar.gz"
        assert told["model"]["bytes"] > 0
        assert told["externalID"].endswith(":training-job/gpt-0a1b2c-1")
        assert told["lineage"]["inputs"] == [{"name": "train", "path": "s3://data/train/"}]
        assert told["cost"]["hourlyUSD"] == "0.00", "nothing runs any more"
        assert float(told["cost"]["accruedUSD"]) > 0
        before = world.told
        await world.once()
        assert world.told == before
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}


def message(world: World) -> str:
    return str((conditions.find(world.told["conditions"], "Succeeded") or {})["message"])


@pytest.mark.proves("15.9")
async def test_what_sagemaker_tells_of_a_job_stands_in_status(still: LocalAws) -> None:
    async with a_world(still, metrics=[{"name": "loss", "regex": "loss=([0-9.]+)"}]) as world:
        world.plan(effect="script", metrics={"loss": 0.25}, seconds=90)
        await world.once()
        await world.once()
        assert message(world).startswith("Attempt 1: Starting"), "the secondary status, and what it says"
        await world.until("Succeeded")
        told = world.told
        job = still.client("sagemaker", account=ACCOUNT).describe_training_job(TrainingJobName="gpt-0a1b2c-1")
        assert [(m["name"], m["value"]) for m in told["metrics"]] == [("loss", "0.25")]
        assert told["usage"] == [{"instanceType": "ml.g5.2xlarge", "seconds": job["BillableTimeInSeconds"]}]
        assert told["model"]["uri"] == job["ModelArtifacts"]["S3ModelArtifacts"]


def may(aws: LocalAws, *statements: Object) -> None:
    """What the execution role may, and nothing else."""
    document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]})
    aws.client("iam", account=ACCOUNT).put_role_policy(RoleName="sagemaker", PolicyName="allowed", PolicyDocument=document)


READS = (
    {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::data"},
    {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/train/*"},
)
WRITES = {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/models/*"}


@pytest.mark.proves("15.16")
async def test_a_run_reads_its_inputs_and_writes_its_output_with_a_role_that_may_nothing_else(still: LocalAws) -> None:
    still.admin.settings(enforce_iam=True)
    key = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    guarded = {"networkIsolation": True, "encryptTraffic": True, "kmsKeyID": key}
    async with a_world(still, sageMaker=guarded) as world:
        may(still, *READS, WRITES)
        await world.until("Succeeded")
        job = still.client("sagemaker", account=ACCOUNT).describe_training_job(TrainingJobName="gpt-0a1b2c-1")
        assert (job["EnableNetworkIsolation"], job["EnableInterContainerTrafficEncryption"]) == (True, True)
        assert (job["OutputDataConfig"]["KmsKeyId"], job["ResourceConfig"].get("VolumeKmsKeyId", key)) == (key, key)


@pytest.mark.proves("15.16")
async def test_a_role_that_may_not_read_the_inputs_is_told_with_what_it_lacks_and_the_run_goes_on_by_itself(
    still: LocalAws,
) -> None:
    still.admin.settings(enforce_iam=True)
    async with a_world(still) as world:
        may(still, WRITES)
        await world.once()
        assert world.jobs() == {}
        assert 'has "s3:ListBucket" permissions on bucket "data"' in message(world)
        may(still, *READS, WRITES)
        await world.until("Succeeded")


async def test_a_spot_run_costs_what_is_billed_and_not_what_it_took(still: LocalAws) -> None:
    async with a_world(still, sageMaker={"spot": {"maxWaitSeconds": 3600}}, limits={"maxRuntimeSeconds": 7200}) as world:
        world.plan(effect="script", seconds=600)
        await world.until("Succeeded")
        job = still.client("sagemaker", account=ACCOUNT).describe_training_job(TrainingJobName="gpt-0a1b2c-1")
        assert job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
        hourly = world.cloud.prices.hourly("us-east-1", "sagemaker-training", "ml.g5.2xlarge")
        wanted = float(hourly or 0) * job["BillableTimeInSeconds"] / 3600
        assert float(world.told["cost"]["accruedUSD"]) == pytest.approx(wanted, abs=0.006)


async def test_what_a_limited_run_costs_at_most_is_told_before_it_begins(still: LocalAws) -> None:
    async with a_world(still, limits={"maxRuntimeSeconds": 7200}, inputs=[{"name": "train", "uri": "s3://data/train/"}]) as world:
        await world.once()
        assert world.told["cost"] == {"estimatedUSD": "3.03", "hourlyUSD": "1.52", "accruedUSD": "0.00"}


async def test_a_type_without_a_price_has_no_cost_rather_than_none(still: LocalAws) -> None:
    async with a_world(still, sageMaker={"instanceTypes": ["ml.g5.xlarge"]}) as world:
        await world.once()
        assert "cost" not in world.told


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
        fresh = World(still, world.cloud)
        await fresh.once()
        assert fresh.reason == "NameConflict", "it is not taken for ours because it was there first"


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


@pytest.mark.proves("15.9")
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


@pytest.mark.proves("15.9")
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
        still.client("s3", account=ACCOUNT).delete_object(Bucket="data", Key="models/gpt-0a1b2c-1/output/model.tar.gz")
        third = World(still, world.cloud, uid="eeeeeeee-0000-4000-8000-000000000000")
        await third.until("Succeeded")
        assert "gpt-eeeeee-1" in world.jobs(), "a record of a model that is gone is none"


async def test_deletion_waits_for_an_account_that_was_used(still: LocalAws) -> None:
    async with a_world(still) as world:
        await CONTROLLER.reconcile(world.a_pass())  # killed before the status was written
        world.account["status"]["conditions"][0]["status"] = "False"
        assert not (await world.once(finalize=True)).released
        assert world.jobs() == {"gpt-0a1b2c-1": "InProgress"}
        world.account["status"]["conditions"][0]["status"] = "True"
        await world.once(finalize=True)
        assert world.jobs() != {"gpt-0a1b2c-1": "InProgress"}, "it is stopped"


async def test_deleting_one_that_succeeded_needs_no_account(still: LocalAws) -> None:
    async with a_world(still) as world:
        await world.until("Succeeded")
        world.account["status"]["conditions"][0]["status"] = "False"
        assert (await world.once()).conditions[0].status == "True", "nothing has to be looked after"
        assert (await world.once(finalize=True)).released


async def test_a_job_that_may_not_be_stopped_after_the_end_is_told_until_it_may(still: LocalAws) -> None:
    """It costs on, and the run has an end that says otherwise."""
    async with a_world(still, limits={"maxCostUSD": "0.01"}) as world:
        world.plan(effect="script", seconds=36_000)
        denied = still.admin.add_fault("deny", service="sagemaker", operation="StopTrainingJob")
        await world.until("CostExceeded")
        await world.once()
        assert world.reason == "CostExceeded"
        waits = conditions.find(world.told["conditions"], "Reconciling")
        assert waits is not None
        assert (waits["reason"], "sagemaker:StopTrainingJob" in waits["message"]) == ("PermissionDenied", True)
        still.admin.clear_faults(denied)
        await world.once()
        assert world.jobs() != {"gpt-0a1b2c-1": "InProgress"}
        assert world.reason == "CostExceeded"
        assert conditions.find(world.told["conditions"], "Reconciling") is None


async def test_data_in_a_bucket_that_is_gone_keeps_nobody(still: LocalAws) -> None:
    async with a_world(still, dataPolicy="Delete") as world:
        await world.until("Succeeded")
        s3 = still.client("s3", account=ACCOUNT)
        for found in s3.list_objects_v2(Bucket="data")["Contents"]:
            s3.delete_object(Bucket="data", Key=found["Key"])
        s3.delete_bucket(Bucket="data")
        assert (await world.once(finalize=True)).released


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


PRODUCT = "prod-command-tuning"


def publish(still: LocalAws) -> str:
    """A vendor's algorithm; gives its ARN."""
    epochs = {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "10"}}
    takes = {
        "TrainingImage": "repo/vendor:1",
        "SupportedTrainingInstanceTypes": ["ml.g5.2xlarge"],
        "SupportedHyperParameters": [{"Name": "epochs", "Type": "Integer", "IsRequired": True, "Range": epochs}],
        "TrainingChannels": [
            {
                "Name": "train",
                "IsRequired": True,
                "SupportedContentTypes": ["application/jsonlines"],
                "SupportedInputModes": ["File"],
            }
        ],
    }
    return str(still.admin.publish_algorithm({"AlgorithmName": "command-tuning", "TrainingSpecification": takes}, PRODUCT))


PAGE = "https://aws.amazon.com/marketplace/pp/prodview-command-tuning"


@pytest.mark.proves("15.7")
async def test_without_the_subscription_the_products_page_is_named_and_it_is_hardly_asked_for_again(still: LocalAws) -> None:
    bought = {"algorithm": {"algorithmARN": publish(still), "productPage": PAGE}}
    async with a_world(still, sageMaker=bought, parameters={"epochs": "3"}) as world:
        await world.once()
        said = (conditions.find(world.told["conditions"], "Succeeded") or {})["message"]
        assert said.endswith(f"Its product is {PRODUCT}. Subscribe at {PAGE}")
        assert external_ids(world.object) == (subscriptions.AWAITED,), "the event of a subscription wakes it"
        world.object["status"]["conditions"][0]["lastTransitionTime"] = world.clock.now().isoformat()
        assert [await looks_again(world, waited) for waited in (0, 200, 400, 10_000)] == [300, 300, 600, 900]
        still.admin.subscribe(PRODUCT, account=ACCOUNT)
        await world.once()
        assert list(world.jobs()) == ["gpt-0a1b2c-1"], "woken, it begins at once"


def external_ids(obj: Object) -> tuple[str, ...]:
    return CONTROLLER.external_ids(obj)


async def looks_again(world: World, seconds: float) -> float:
    """When, some time later, it says that it will ask again."""
    world.clock.advance(seconds)
    with pytest.raises(aws_errors.NotSubscribed) as refused:
        await CONTROLLER.reconcile(world.a_pass())
    return refused.value.after


@pytest.mark.proves("15.7")
async def test_a_subscription_that_comes_later_is_picked_up(still: LocalAws) -> None:
    bought = {"algorithm": {"algorithmARN": publish(still)}}
    async with a_world(still, sageMaker=bought, parameters={"epochs": "3"}) as world:
        for _ in range(3):
            await world.once()
            assert (world.reason, world.jobs()) == ("NotSubscribed", {})
        assert PRODUCT in (conditions.find(world.told["conditions"], "Succeeded") or {})["message"]
        still.admin.subscribe(PRODUCT, account=ACCOUNT)
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}
        assert still.admin.requests("sagemaker.DescribeAlgorithm") == 1, "what it takes is read once"


@pytest.mark.proves("15.8")
async def test_what_the_algorithm_does_not_take_is_refused_before_anything_is_made(still: LocalAws) -> None:
    bought = {"algorithm": {"algorithmARN": publish(still)}, "instanceTypes": ["ml.g5.2xlarge", "ml.m5.large"]}
    still.admin.subscribe(PRODUCT, account=ACCOUNT)
    async with a_world(still, sageMaker=bought, parameters={"epochs": "11", "lr": "1"}) as world:
        await world.once()
        said = conditions.find(world.told["conditions"], "Succeeded") or {}
        assert (said["reason"], said["status"]) == ("UnfitForAlgorithm", "False")
        assert (conditions.find(world.told["conditions"], "Stalled") or {})["status"] == "True"
        for part in ("ml.m5.large is not among", "'11' is not between 1 and 10", "lr is unknown"):
            assert part in said["message"]
        assert still.admin.requests("sagemaker.CreateTrainingJob") == 0
        world.change(
            parameters={"epochs": "3"}, sageMaker={**world.object["spec"]["sageMaker"], "instanceTypes": ["ml.g5.2xlarge"]}
        )
        await world.until("Succeeded")
        made = still.client("sagemaker", account=ACCOUNT).describe_training_job(TrainingJobName="gpt-0a1b2c-1")
        assert made["AlgorithmSpecification"]["AlgorithmName"] == bought["algorithm"]["algorithmARN"]
        world.change(runID="again", parameters={"epochs": "0"})
        await world.once()
        await world.once()
        assert (world.reason, "attempt" in world.told) == ("UnfitForAlgorithm", False), "not begun: it may be corrected"
        world.change(parameters={"epochs": "1"})
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed", "gpt-0a1b2c-2": "Completed"}


async def test_an_algorithm_that_the_region_has_not_is_told(still: LocalAws) -> None:
    missing = "arn:aws:sagemaker:us-east-1:999999999999:algorithm/none"
    async with a_world(still, sageMaker={"algorithm": {"algorithmARN": missing}}) as world:
        await world.once()
        assert world.reason == "UnfitForAlgorithm"
        assert world.jobs() == {}


TRAINABLE: Object = {
    "TrainingSupported": True,
    "TrainingEcrUri": "repo/tune:1",
    "TrainingScriptUri": "s3://jumpstart/scripts/transfer.tar.gz",
    "TrainingArtifactUri": "s3://jumpstart/weights/",
    "SupportedTrainingInstanceTypes": ["ml.g5.2xlarge"],
    "Hyperparameters": [{"Name": "epoch", "Type": "int", "Default": "1", "Scope": "algorithm", "Min": 1, "Max": 10}],
    "GatedBucket": True,
    "HostingEulaUri": "s3://jumpstart/eula.txt",
}


def in_the_hub(still: LocalAws, **change: Any) -> None:
    """A model of the hub, and its weights."""
    s3 = still.client("s3", account=ACCOUNT)
    s3.create_bucket(Bucket="jumpstart")
    s3.put_object(Bucket="jumpstart", Key="weights/w.bin", Body=b"w")
    document = {**TRAINABLE, **change}
    still.admin.publish_model({"HubContentName": "falcon2", "HubContentVersion": "1.0.0", "HubContentDocument": document})


def tuning(**model: Any) -> Object:
    return {"algorithm": {"jumpStart": {"modelID": "falcon2", "version": "1.0.0", **model}}}


@pytest.mark.proves("08.17")
async def test_a_model_of_the_hub_is_tuned_where_its_card_says_how(still: LocalAws) -> None:
    in_the_hub(still)
    async with a_world(still, sageMaker=tuning(), parameters={"epoch": "2"}) as world:
        await world.once()
        assert (world.reason, world.jobs()) == ("LicenceNotAccepted", {})
        world.change(sageMaker={**world.object["spec"]["sageMaker"], **tuning(acceptEULA=True)})
        await world.until("Succeeded")
        made = still.client("sagemaker", account=ACCOUNT).describe_training_job(TrainingJobName="gpt-0a1b2c-1")
        assert made["AlgorithmSpecification"]["TrainingImage"] == "repo/tune:1"
        assert made["HyperParameters"]["epoch"] == "2"
        assert [channel["ChannelName"] for channel in made["InputDataConfig"]] == ["train", "model"]
        assert world.told["lineage"]["baseModel"] == "jumpstart://falcon2/1.0.0"
        assert world.told["licence"] == {"modelID": "falcon2", "version": "1.0.0", "uri": "s3://jumpstart/eula.txt"}
        assert still.admin.requests("sagemaker.DescribeHubContent") == 1


@pytest.mark.proves("08.17")
async def test_a_model_of_the_hub_that_cannot_be_tuned_says_so(still: LocalAws) -> None:
    in_the_hub(still, TrainingSupported=False)
    async with a_world(still, sageMaker=tuning()) as world:
        await world.once()
        said = conditions.find(world.told["conditions"], "Succeeded") or {}
        assert (said["status"], said["reason"]) == ("False", "NotTrainable")
        assert "falcon2 1.0.0 cannot be tuned" in said["message"]
        assert world.jobs() == {}
        world.change(sageMaker={**world.object["spec"]["sageMaker"], **tuning(version="9.9.9")})
        await world.once()
        said = conditions.find(world.told["conditions"], "Succeeded") or {}
        assert (said["reason"], "has no model falcon2 9.9.9" in said["message"]) == ("InvalidSpec", True)


FIRST, SECOND = "ml.g5.2xlarge", "ml.m5.large"
TWO = {"instanceTypes": [FIRST, SECOND]}


@pytest.mark.proves("15.10")
async def test_without_quota_for_a_type_the_next_is_taken_and_without_any_it_queues(still: LocalAws) -> None:
    async with a_world(still, sageMaker=TWO) as world:
        for name in (FIRST, SECOND):
            still.admin.set_quota("training", name, 0, account=ACCOUNT)
        await world.once()
        assert (world.reason, world.jobs()) == ("QuotaExceeded", {})
        said = (conditions.find(world.told["conditions"], "Succeeded") or {})["message"]
        assert f"{FIRST} for training job usage" in said
        assert f"{SECOND} for training job usage" in said
        still.admin.set_quota("training", SECOND, 1, account=ACCOUNT)
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Completed"}, "a quota is waited for within the attempt"
        assert world.told["instanceType"] == SECOND
        assert "restarts" not in world.told


@pytest.mark.proves("15.10")
async def test_without_capacity_for_a_type_the_next_attempt_is_on_the_next(still: LocalAws) -> None:
    async with a_world(still, sageMaker=TWO, limits={"maxRestarts": 0}) as world:
        world.plan("capacity")
        await world.until("Succeeded")
        assert world.jobs() == {"gpt-0a1b2c-1": "Failed", "gpt-0a1b2c-2": "Completed"}
        restarts = world.told["restarts"]
        assert (restarts["count"], restarts["uncounted"], restarts["lastCause"]) == (0, 1, "CapacityError")
        assert world.told["instanceType"] == SECOND
        assert [p["instanceType"] for p in world.told["passedOver"]] == [FIRST]
        assert any(f"{SECOND} is tried next" in event.message for event in world.events)
        assert [u["instanceType"] for u in world.told["usage"]] == [SECOND], "the other never ran"


async def test_each_attempt_costs_what_its_own_type_costs(still: LocalAws) -> None:
    """The first runs and fails; then its type has no quota any more, and the second runs on another, that costs less."""
    async with a_world(still, sageMaker=TWO, limits={"maxRuntimeSeconds": 7200}) as world:
        await world.once()
        assert world.told["cost"]["estimatedUSD"] == "3.03", "of the dearest"
        world.step(120)
        await world.once()
        world.step(30)
        still.client("sagemaker", account=ACCOUNT).stop_training_job(TrainingJobName="gpt-0a1b2c-1")
        still.admin.set_quota("training", FIRST, 0, account=ACCOUNT)
        await world.until("Succeeded")
        used = {u["instanceType"]: u["seconds"] for u in world.told["usage"]}
        client = still.client("sagemaker", account=ACCOUNT)
        jobs = [client.describe_training_job(TrainingJobName=f"gpt-0a1b2c-{n}") for n in (1, 2)]
        assert used == {job["ResourceConfig"]["InstanceType"]: job["BillableTimeInSeconds"] for job in jobs}
        assert set(used) == {FIRST, SECOND}
        prices = {name: world.cloud.prices.hourly("us-east-1", "sagemaker-training", name) for name in used}
        wanted = sum(float(prices[name] or 0) * seconds / 3600 for name, seconds in used.items())
        assert float(world.told["cost"]["accruedUSD"]) == pytest.approx(wanted, abs=0.006)


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


async def test_without_events_the_shared_listing_wakes_what_changed_and_nothing_else(
    still: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ListTrainingJobs says of a job must equal what DescribeTrainingJob says of it, or every listing would wake every job."""
    monkeypatch.setattr(listing, "FASTEST", 0.02)
    monkeypatch.setattr(listing, "SLOWEST", 0.05)
    async with a_world(still) as world:
        other = World(still, world.cloud, uid="ffffffff-0000-4000-8000-000000000000", runID="other")
        other.object["metadata"]["name"] = "other"
        other.cloud.wake = world.woken.append
        await world.once()
        listed = still.admin.requests("sagemaker.ListTrainingJobs")
        await until(lambda: still.admin.requests("sagemaker.ListTrainingJobs") > listed + 3, "some listings")
        assert world.woken == [], "nothing has changed"
        world.step(60)
        await until(lambda: world.woken, "the job has changed")
        await other.once()
        await world.once()
        described = still.admin.requests("sagemaker.DescribeTrainingJob")
        world.woken.clear()
        world.step(600)
        await until(lambda: len(world.woken) == 2, "both have ended")
        assert {key.name for key in world.woken} == {"gpt", "other"}
        assert still.admin.requests("sagemaker.DescribeTrainingJob") == described, "one List for all, no Get for each"


@pytest.mark.parametrize("fault", [None, "duplicate-events", "reorder-events"])
async def test_a_change_of_the_job_is_heard_by_its_arn(still: LocalAws, fault: str | None) -> None:
    """From SageMaker through EventBridge, the managed rule and queue, to the id that status names."""
    async with a_world(still) as world:
        account = world.a_pass().account()
        wanted = Plumbing("millrace-team-a-default-0a1b2c", "us-east-1", ACCOUNT)
        url = await plumbing.ensure(account, wanted, {})
        await world.once()
        heard: list[str] = []
        world.cloud.wake_by_id = lambda id_: heard.append(id_) or 1  # type: ignore[func-returns-value]
        await world.cloud.listen(account, url)
        await until(lambda: world.told["externalID"] in heard, "the events of its creation")
        heard.clear()
        if fault:
            still.admin.add_fault(fault, service="sagemaker", times=1)
        for _ in range(3):
            world.step(60)
        await until(lambda: world.told["externalID"] in heard, "the events of what came then")
        assert set(heard) == {world.told["externalID"]}
