"""Endpoints on SageMaker against a local AWS: from nothing to an answer, through every trouble, and back to nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from millrace_controllers.modelendpoint.hosting import BACKEND
from millrace_controllers.modelendpoint.observed import Stage
from support import hosting
from support.aws import ACCOUNT, allowing
from support.hosting import FIRST, SECOND, AwsClock, Killed, World, a_world

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
HUB: Object = {"model": {"jumpStart": {"modelID": "falcon2"}}, "probe": None}
NOTHING: Object = {"endpoints": [], "configs": [], "models": []}


def from_hub(**serving: Any) -> Object:
    return {**HUB, "sageMaker": {"roleARN": hosting.SERVING_ROLE, **serving}}


def described(world: World) -> Object:
    return dict(world.aws.client("sagemaker", account=ACCOUNT).describe_endpoint(EndpointName=world.hosted["endpointName"]))


def accepted(manager: str, time: str) -> Object:
    fields = {"f:spec": {"f:model": {"f:jumpStart": {".": {}, "f:acceptEULA": {}, "f:modelID": {}}}}}
    return {"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}


# -- up ----------------------------------------------------------------------------------------------------------------


@pytest.mark.proves("08.3", "08.13")
async def test_a_hub_model_serves_on_its_default_type_once_it_has_answered(aws: LocalAws) -> None:
    async with a_world(aws, **from_hub()) as world:
        await world.once()
        assert world.said()[:2] == ("False", "Loading")
        status = await world.until("Serving")
        assert status["sageMaker"]["instanceType"] == FIRST
        assert status["sageMaker"]["modelVersion"] == "1.0.0"
        assert status["sageMaker"]["image"] == hosting.IMAGE
        assert status["model"]["uri"] == "jumpstart://falcon2/1.0.0"
        assert status["readyReplicas"] == 1
        assert status["externalID"] == described(world)["EndpointArn"]
        assert {len(names) for names in world.left().values()} == {1}


async def test_at_rest_a_pass_changes_nothing(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        for _ in range(3):
            await world.once()
        before, said = dict(world.object["status"]), aws.admin.counters()["requests"]
        await world.once()
        assert world.object["status"] == before
        more = {name: count - said.get(name, 0) for name, count in aws.admin.counters()["requests"].items()}
        assert not any(count and not name.startswith(("sagemaker.Describe", "sts.")) for name, count in more.items()), more


@pytest.mark.proves("08.13")
async def test_how_fast_the_golden_request_was_answered_is_told_once_for_what_serves(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        hosting.answers(aws, '[{"generated_text": "positive", "details": {"generated_tokens": 12}}]')
        told = (await world.until("Serving"))["probe"]
        assert (told["revision"], told["tokens"]) == (world.told["revision"], 12)
        assert float(told["tokensPerSecond"]) == pytest.approx(12000 / told["milliseconds"], abs=0.06)
        hosting.answers(aws, "very positive, and no word of tokens")
        world.change(probe={"request": {"body": {"inputs": "y"}}, "expect": {"contains": "very"}})
        again = (await world.until("Serving"))["probe"]
        assert again.keys() == {"revision", "milliseconds"}, "another golden request was asked, and its answer tells no number"


async def test_in_service_is_not_ready_before_it_has_answered(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        hosting.answers(aws, "no idea")
        await world.until("ProbeFailed")
        assert "does not contain 'positive': no idea" in world.said()[2]
        assert world.said("Available")[0] == "True", "SageMaker sends it requests"
        hosting.answers(aws, "very positive")
        await world.until("Serving")


@pytest.mark.proves("08.2")
async def test_nothing_is_made_of_a_gated_model_before_its_licence_is_accepted(aws: LocalAws) -> None:
    async with a_world(aws, **from_hub()) as world:
        hosting.publish(aws, "2.0.0", GatedBucket=True, HostingEulaUri="s3://jumpstart/eula.txt")
        await world.once()
        assert world.said()[:2] == ("False", "LicenceNotAccepted")
        assert "s3://jumpstart/eula.txt" in world.said()[2]
        assert world.left() == NOTHING
        assert "licence" not in world.told
        world.change(model={"jumpStart": {"modelID": "falcon2", "acceptEULA": True}})
        world.object["metadata"]["managedFields"] = [accepted("kubectl", "2026-11-21T10:00:00Z")]
        await world.once()
        licence = {
            "modelID": "falcon2", "version": "2.0.0", "uri": "s3://jumpstart/eula.txt",
            "acceptedBy": "kubectl", "acceptedAt": "2026-11-21T10:00:00Z",
        }  # fmt: skip
        assert world.told["licence"] == licence
        world.object["metadata"]["managedFields"] = [accepted("kubectl", "2026-12-24T10:00:00Z")]
        assert (await world.until("Serving"))["licence"] == licence, "a later write of the same manager is not another acceptance"


async def test_killed_when_it_made_it_the_operator_tells_of_the_licence_all_the_same(aws: LocalAws) -> None:
    gated = {"jumpStart": {"modelID": "falcon2", "acceptEULA": True}}
    async with a_world(aws, **{**from_hub(), "model": gated}) as world:
        hosting.publish(aws, "2.0.0", GatedBucket=True, HostingEulaUri="s3://jumpstart/eula.txt")
        await world.once()
        world.object["status"] = {}  # the write was lost
        assert (await world.until("Serving"))["licence"]["version"] == "2.0.0"


async def test_a_model_that_is_not_gated_has_no_licence_to_accept(aws: LocalAws) -> None:
    async with a_world(aws, **{**from_hub(), "model": {"jumpStart": {"modelID": "falcon2", "acceptEULA": True}}}) as world:
        assert "licence" not in await world.until("Serving")


@pytest.mark.proves("08.6")
async def test_a_model_that_the_regions_hub_has_not_is_told(aws: LocalAws) -> None:
    async with a_world(aws, **{**from_hub(), "model": {"jumpStart": {"modelID": "no-such-model"}}}) as world:
        await world.once()
        assert world.said()[:2] == ("False", "InvalidSpec")
        assert "the hub of us-east-1 has no model no-such-model" in world.said()[2]
        assert world.left() == NOTHING


@pytest.mark.proves("08.7")
async def test_limits_that_leave_no_room_to_answer_are_refused_before_anything_is_paid_for(aws: LocalAws) -> None:
    limits = [{"name": "MAX_INPUT_LENGTH", "value": "4096"}, {"name": "MAX_TOTAL_TOKENS", "value": "4096"}]
    async with a_world(aws, **from_hub(env=limits)) as world:
        await world.once()
        assert world.said()[:2] == ("False", "InvalidSpec")
        assert "MAX_INPUT_LENGTH is 4096 and MAX_TOTAL_TOKENS is 4096" in world.said()[2]
        assert world.left() == NOTHING
        limits[0]["value"] = "4095"
        world.change(sageMaker=from_hub(env=limits)["sageMaker"])
        await world.until("Serving")


# -- quota and capacity ------------------------------------------------------------------------------------------------


@pytest.mark.proves("08.4")
async def test_without_quota_for_a_type_the_next_is_taken_and_then_it_queues(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        hosting.quota(aws, FIRST, 0)
        hosting.quota(aws, SECOND, 0)
        await world.until("CapacityUnavailable", seconds=1)
        assert f"{FIRST} for endpoint usage" in world.said()[2]
        assert world.said("Reconciling")[0] == "True", "it goes on by itself"
        assert world.left()["endpoints"] == []
        hosting.quota(aws, SECOND, 1)
        status = await world.until("Serving")
        assert status["sageMaker"]["instanceType"] == SECOND
        assert [p["instanceType"] for p in status["sageMaker"]["passedOver"]] == [FIRST]
        assert len(world.left()["configs"]) == 1, "what was made for the first type is gone"


@pytest.mark.proves("08.5")
async def test_without_capacity_the_failed_endpoint_is_removed_and_the_next_type_taken(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        aws.admin.plan("endpoint", "capacity")
        status = await world.until("Serving")
        assert status["sageMaker"]["instanceType"] == SECOND
        assert "InsufficientInstanceCapacity" in status["sageMaker"]["passedOver"][0]["reason"]
        assert {len(names) for names in world.left().values()} == {1}


@pytest.mark.proves("08.14")
async def test_a_container_that_does_not_come_up_is_told_and_left_to_be_looked_at(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        aws.admin.plan(
            "endpoint", "fail", reason="The primary container for production variant main did not pass the ping health check."
        )
        await world.once()
        logs, group = aws.client("logs", account=ACCOUNT), f"/aws/sagemaker/Endpoints/{world.hosted['endpointName']}"
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName="main/i-1")
        last = [{"timestamp": int(aws.admin.now() * 1000), "message": "RuntimeError: no such file: weights"}]
        logs.put_log_events(logGroupName=group, logStreamName="main/i-1", logEvents=last)
        await world.until("ServerFailed")
        assert "did not pass the ping health check" in world.said()[2]
        assert "the log ends: RuntimeError: no such file: weights" in world.said()[2]
        assert world.events[-1].message == world.said()[2], "describe shows it"
        assert world.said("Stalled")[0] == "True"
        world.change(model={"uri": "s3://models/n.tar.gz"})
        await world.until("Serving")
        assert {len(names) for names in world.left().values()} == {1}


# -- changes -----------------------------------------------------------------------------------------------------------


@pytest.mark.proves("08.15")
async def test_another_model_takes_over_and_nothing_of_the_old_is_left(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        old = await world.until("Serving")
        world.change(model={"uri": "s3://models/n.tar.gz"})
        await world.once()
        assert world.said()[:2] == ("False", "RollingOut")
        assert world.said("Available")[0] == "True"
        new = await world.until("Serving")
        assert new["sageMaker"]["config"] != old["sageMaker"]["config"]
        assert new["externalID"] == old["externalID"]
        assert world.left()["configs"] == [new["sageMaker"]["config"]]


@pytest.mark.proves("08.15")
async def test_an_update_that_was_rolled_back_is_no_success(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        old = await world.until("Serving")
        aws.admin.plan("endpoint", "fail", reason="alarm in bake")
        world.change(model={"uri": "s3://models/n.tar.gz"})
        await world.until("RolledBack")
        assert "alarm in bake" in world.said()[2]
        assert old["sageMaker"]["config"] in world.said()[2]
        assert (world.said("Available")[0], world.said("Stalled")[0]) == ("True", "True")
        again = World(aws, world.cloud)
        again.object = {**world.object, "status": dict(world.object["status"])}
        await again.once()
        assert again.said()[1] == "RolledBack", "a new operator does not try again what failed"
        world.change(model={"uri": "s3://models/m.tar.gz"})
        await world.until("Serving")


async def test_what_autoscaling_chose_survives_an_update(aws: LocalAws) -> None:
    scaled = {"min": 1, "max": 4, "targetInvocationsPerInstance": 20}
    serving = {"roleARN": hosting.SERVING_ROLE, "image": hosting.IMAGE, "instanceTypes": [FIRST], "replicas": scaled}
    async with a_world(aws, sageMaker=serving) as world:
        hosting.quota(aws, FIRST, 8)  # while an update goes on, both fleets are there
        await world.until("Serving")
        await world.once()
        targets = aws.client("application-autoscaling", account=ACCOUNT).describe_scalable_targets(ServiceNamespace="sagemaker")
        assert [(t["MinCapacity"], t["MaxCapacity"]) for t in targets["ScalableTargets"]] == [(1, 4)]
        client = aws.client("sagemaker-runtime", account=ACCOUNT)
        for _ in range(55):
            client.invoke_endpoint(EndpointName=world.hosted["endpointName"], Body=b"{}")["Body"].read()
        for _ in range(10):
            aws.admin.step(60)
            await world.once()
            assert world.said()[1] == "Serving", "scaling takes nothing away"
            if described(world)["ProductionVariants"][0]["CurrentInstanceCount"] == 3:
                break
        world.change(model={"uri": "s3://models/n.tar.gz"})
        await world.once()
        assert described(world)["PendingDeploymentSummary"]["ProductionVariants"][0]["DesiredInstanceCount"] == 3


async def test_another_fixed_number_of_instances_is_no_other_configuration(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        old = await world.until("Serving")
        world.change(sageMaker={**world.object["spec"]["sageMaker"], "replicas": {"min": 2}})
        for _ in range(4):
            await world.once()
            aws.admin.step(300)
        status = await world.until("Serving")
        assert status["sageMaker"]["config"] == old["sageMaker"]["config"]
        assert status["readyReplicas"] == 2


# -- down --------------------------------------------------------------------------------------------------------------


@pytest.mark.proves("08.18")
async def test_deletion_leaves_nothing_and_takes_the_endpoint_first(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        aws.admin.reset_counters()
        await world.once(finalize=True)
        assert world.left()["endpoints"], "SageMaker takes its time"
        assert len(world.left()["configs"]) == 1, "its configuration is there as long as it is"
        await world.gone()
        assert world.left() == NOTHING


async def test_deletion_in_the_middle_of_a_start_leaves_nothing(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.once()
        await world.once(finalize=True)
        await world.gone()
        assert world.left() == NOTHING


async def test_suspended_nothing_bills_and_resumed_it_must_answer_again(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        world.change(sageMaker={**world.object["spec"]["sageMaker"], "replicas": {"min": 2}}, suspend=True)
        await world.once()
        aws.admin.step(120)
        await world.once()
        assert world.said()[1:] == ("Suspended", "Nothing runs")
        assert world.left()["endpoints"] == []
        hosting.answers(aws, "garbage")
        world.change(suspend=False)
        await world.until("ProbeFailed")
        hosting.answers(aws, "positive")
        for _ in range(6):
            await world.once()
            aws.admin.step(300)
        assert (await world.until("Serving"))["readyReplicas"] == 2


async def test_what_is_suspended_leaves_no_configuration_and_no_model(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        world.change(suspend=True)
        for _ in range(3):
            await world.once()
            aws.admin.step(120)
        assert world.left() == NOTHING
        aws.admin.reset_counters()
        await world.once()
        assert aws.admin.requests("sagemaker.List") == 0, "once is enough"
        world.change(suspend=False)
        await world.until("Serving")


def invoked(aws: LocalAws, world: World) -> None:
    runtime = aws.client("sagemaker-runtime", account=ACCOUNT)
    runtime.invoke_endpoint(EndpointName=world.hosted["endpointName"], Body=b"{}")


@pytest.mark.proves("08.18")
async def test_nobody_asks_it_and_it_is_stopped_and_comes_back_when_it_is_wanted(aws: LocalAws) -> None:
    async with a_world(aws, idleSeconds=900) as world:
        world.clock = AwsClock(aws)
        await world.until("Serving")
        aws.admin.step(600)
        invoked(aws, world)
        aws.admin.step(600)
        await world.once()
        assert world.said()[1] == "Serving", "it was asked ten minutes ago"
        assert world.hosted["lastUsed"]
        aws.admin.reset_counters()
        await world.once()
        assert aws.admin.requests("cloudwatch") == 0, "not before it may be idle"
        aws.admin.step(900)
        await world.once()
        assert world.said()[:2] == ("False", "Idle")
        assert world.left()["endpoints"], "said before it is done"
        for _ in range(3):
            await world.once()
            aws.admin.step(120)
        assert world.said()[:2] == ("False", "Idle")
        assert world.left() == NOTHING
        assert world.told["cost"]["hourlyUSD"] == "0.00"
        aws.admin.step(86400)
        await world.once()
        assert world.left() == NOTHING, "nothing brings it back by itself"
        world.object["metadata"]["annotations"] = {"millrace.dev/start-at": "now"}
        await world.until("Serving")
        assert "idle" not in world.told
        assert [event.reason for event in world.events].count("Idle") == 1


async def test_a_change_of_the_spec_brings_it_back_and_suspension_is_not_called_idle(aws: LocalAws) -> None:
    async with a_world(aws, idleSeconds=300) as world:
        world.clock = AwsClock(aws)
        await world.until("Serving")
        aws.admin.step(3600)
        await world.until("Idle", passes=1)
        world.change(suspend=True)
        for _ in range(3):
            await world.once()
            aws.admin.step(120)
        assert (world.said()[1], "idle" in world.told) == ("Suspended", False)
        world.change(suspend=False)
        await world.until("Serving")
        assert world.told["sageMaker"]["endpointName"]


async def test_where_nobody_can_tell_whether_it_is_asked_it_serves_on_and_says_so(aws: LocalAws) -> None:
    async with a_world(aws, idleSeconds=300) as world:
        world.clock = AwsClock(aws)
        await world.until("Serving")
        iam = aws.client("iam", account=ACCOUNT)
        most = allowing("sagemaker:*", "iam:PassRole", "logs:*")
        iam.put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=most)
        aws.admin.step(3600)
        await world.once()
        assert world.said()[:2] == ("True", "Serving")
        assert "cloudwatch:GetMetricStatistics" in world.said()[2]
        iam.put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=allowing("*"))
        await world.until("Idle", passes=1)


async def test_killed_between_saying_and_stopping_it_is_stopped(aws: LocalAws) -> None:
    async with a_world(aws, idleSeconds=300) as world:
        world.clock = AwsClock(aws)
        await world.until("Serving")
        aws.admin.step(3600)
        before = dict(world.object["status"])
        await world.once()
        world.object["status"] = before  # the write was lost
        for _ in range(4):
            await world.once()
            aws.admin.step(120)
        assert world.said()[1] == "Idle"
        assert world.left() == NOTHING


async def test_what_is_suspended_goes_whatever_is_wrong_with_its_model(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        world.change(model={"trainingJobRef": {"name": "no-such-job"}}, suspend=True)
        await world.once()
        aws.admin.step(120)
        await world.once()
        assert world.said()[2] == "Nothing runs"


async def test_a_hubs_default_that_cannot_be_had_is_waited_for_without_haste(aws: LocalAws) -> None:
    async with a_world(aws, **from_hub()) as world:
        hosting.quota(aws, FIRST, 0)
        waits = [(await world.once()).requeue_after for _ in range(6)]
        assert waits == [0.1, 300.0] * 3
        assert world.said()[1] == "CapacityUnavailable"
        hosting.quota(aws, FIRST, 1)
        aws.admin.plan("endpoint", "capacity")
        await world.until("Serving", seconds=120)


async def test_what_was_retained_is_taken_over_by_the_next_object_of_the_name(aws: LocalAws) -> None:
    async with a_world(aws, deletionPolicy="Retain") as world:
        old = await world.until("Serving")
        await world.once(finalize=True)
        assert world.released
        heir = World(aws, world.cloud, uid="ffffffff-0000-4000-8000-000000000000")
        await heir.until("Serving", seconds=1)
        assert heir.object["status"]["externalID"] == old["externalID"]
        assert heir.left() == world.left(), "nothing was made anew"
        await heir.gone()
        assert heir.left() == NOTHING


async def test_somebody_elses_endpoint_is_not_touched(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        client = aws.client("sagemaker", account=ACCOUNT)
        client.create_model(ModelName="m", PrimaryContainer={"Image": hosting.IMAGE}, ExecutionRoleArn=hosting.SERVING_ROLE)
        variant = {"VariantName": "main", "ModelName": "m", "InstanceType": FIRST, "InitialInstanceCount": 1}
        client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        client.create_endpoint(EndpointName="falcon-0a1b2c", EndpointConfigName="c")
        await world.once()
        assert world.said()[:2] == ("False", "NameConflict")
        await world.once(finalize=True)
        assert world.released, "what it never made keeps nobody"
        assert client.list_endpoints()["Endpoints"], "it was not made for this object"


# -- trouble -----------------------------------------------------------------------------------------------------------


async def test_a_denied_call_is_named_and_it_goes_on_when_it_is_granted(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        iam = aws.client("iam", account=ACCOUNT)
        most = ["sagemaker:List*", "sagemaker:Describe*", "sagemaker:CreateModel", "sagemaker:AddTags", "iam:PassRole"]
        iam.put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=allowing(*most))
        await world.once()
        assert world.said()[:2] == ("False", "PermissionDenied")
        assert "sagemaker:CreateEndpointConfig" in world.said()[2]
        iam.put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=allowing("*"))
        await world.until("Serving")
        assert {len(names) for names in world.left().values()} == {1}


async def test_an_endpoint_that_goes_while_it_is_looked_at_is_gone(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.once()
        unnoted = World(aws, world.cloud)
        aws.admin.add_fault("error", service="sagemaker", operation="ListTags", code="ResourceNotFound", status=400, times=2)
        assert (await BACKEND.observe(unnoted.a_pass())).stage is Stage.MISSING
        assert (await BACKEND.observe(unnoted.a_pass())).stage is Stage.CREATING


async def test_an_endpoint_that_vanished_is_made_again(aws: LocalAws) -> None:
    async with a_world(aws) as world:
        await world.until("Serving")
        aws.client("sagemaker", account=ACCOUNT).delete_endpoint(EndpointName=world.hosted["endpointName"])
        aws.admin.step(60)
        await world.until("Serving")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_it_makes_what_an_uninterrupted_one_makes(
    aws: LocalAws, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(aws) as world:
        at = 1
        while True:
            with hosting.killed(at, after=after, monkeypatch=monkeypatch) as made, contextlib.suppress(Killed):
                for _ in range(8):
                    await world.once()
                    aws.admin.step(300)
            if made() < at:
                break
            at += 1
        assert at > 3, "model, configuration and endpoint were made"
        await world.until("Serving")
        assert {len(names) for names in world.left().values()} == {1}
        at = 1
        while not world.released:
            with hosting.killed(at, after=after, monkeypatch=monkeypatch), contextlib.suppress(Killed):
                for _ in range(4):
                    await world.once(finalize=True)
                    aws.admin.step(300)
                    if world.released:
                        break
            at = at % 4 + 1
        assert world.left() == NOTHING
