"""What SageMaker is asked for and what its answers mean: tables, held against botocore's model of the service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.engine.clock import stamp
from millrace_controllers.trainingjob import instances, plan
from millrace_controllers.trainingjob.backends.sagemaker import algorithm, observe, record, request
from millrace_controllers.trainingjob.observed import Attempt, CloudJob, JobState, Observed, ResolvedInput
from millrace_controllers.trainingjob.plan import Do
from millrace_controllers.trainingjob.state import State
from support.clock import BEGIN

Object = dict[str, Any]
UID = "0a1b2c3d-0000-4000-8000-000000000000"
OWNER = {"kind": "TrainingJob", "metadata": {"name": "gpt", "namespace": "team", "uid": UID}}
ROLE = "arn:aws:iam::111122223333:role/sagemaker"
ALGORITHM = "arn:aws:sagemaker:us-east-1:865070037744:algorithm/tune-1"
TRAIN = ResolvedInput("train", "", "s3://data/train/")


def spec(job: Object | None = None, **change: Any) -> TrainingJobSpec:
    sage_maker = {"algorithm": {"image": "repo/x:1"}, "roleARN": ROLE, "instanceTypes": ["ml.g5.2xlarge"], **(job or {})}
    return TrainingJobSpec.model_validate({"output": {"uri": "s3://results/models/"}, "sageMaker": sage_maker, **change})


def asked(wanted: TrainingJobSpec, number: int = 1, spent: int = 0) -> Object:
    return request.create(OWNER, wanted, number, "ml.g5.2xlarge", (TRAIN,), {"millrace.dev/uid": UID}, spent)


WHOLE = {
    "instanceCount": 2, "volumeGiB": 100, "spot": {"maxWaitSeconds": 600}, "kmsKeyID": "alias/k", "encryptTraffic": True,
    "networkIsolation": True, "env": {"A": "b"}, "vpc": {"subnets": ["subnet-1"], "securityGroupIDs": ["sg-1"]},
    "algorithm": {"image": "repo/x:1", "command": ["train"], "args": ["-v"]},
}  # fmt: skip
SCRIPT = {"algorithm": {"script": {"image": "pytorch:2", "source": "s3://code/source.tar.gz", "entryPoint": "train.py"}}}
METRICS = [{"name": "loss", "regex": "loss ([0-9.]+)"}]

# specs, why
REQUESTS = [
    (spec(), "the least"),
    (spec(WHOLE, metrics=METRICS, parameters={"lr": "0.1"}, limits={"maxRuntimeSeconds": 60}), "everything"),
    (spec(SCRIPT, parameters={"lr": "0.1"}), "a script"),
    (spec({"algorithm": {"algorithmARN": ALGORITHM}, "networkIsolation": True}), "an algorithm of the Marketplace"),
]


@pytest.mark.parametrize(("wanted", "why"), REQUESTS)
def test_every_request_is_one_that_botocores_model_takes(wanted: TrainingJobSpec, why: str) -> None:
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape
    validate_parameters(asked(wanted), shape)


def test_what_is_asked_for_is_what_the_spec_says() -> None:
    made = asked(spec(WHOLE, metrics=METRICS, limits={"maxRuntimeSeconds": 3600}), number=3, spent=600)
    assert made["TrainingJobName"] == "gpt-0a1b2c-3"
    assert made["StoppingCondition"] == {"MaxRuntimeInSeconds": 3000, "MaxWaitTimeInSeconds": 3600}
    assert made["CheckpointConfig"] == {"S3Uri": "s3://results/models/gpt-0a1b2c/checkpoints/first"}
    assert made["AlgorithmSpecification"] == {
        "TrainingImage": "repo/x:1", "TrainingInputMode": "File", "MetricDefinitions": [{"Name": "loss", "Regex": "loss ([0-9.]+)"}],
        "ContainerEntrypoint": ["train"], "ContainerArguments": ["-v"],
    }  # fmt: skip
    assert made["OutputDataConfig"] == {"S3OutputPath": "s3://results/models", "KmsKeyId": "alias/k"}
    assert made["InputDataConfig"][0]["ChannelName"] == "train"


def test_every_attempt_of_a_spot_run_goes_on_from_the_same_checkpoints() -> None:
    assert asked(spec(WHOLE), 1)["CheckpointConfig"] == asked(spec(WHOLE), 2)["CheckpointConfig"]
    assert "CheckpointConfig" not in asked(spec())


def test_a_scripts_parameters_are_json_as_the_toolkit_reads_them() -> None:
    made = asked(spec(SCRIPT, parameters={"lr": "0.1", "name": "a b", "flag": "true"}))["HyperParameters"]
    assert {name: json.loads(value) for name, value in made.items()} == {
        "lr": 0.1, "name": "a b", "flag": True,
        "sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://code/source.tar.gz",
    }  # fmt: skip
    assert asked(spec(parameters={"lr": "0.1", "name": "a b"}))["HyperParameters"] == {"lr": "0.1", "name": "a b"}


# -- what it says --------------------------------------------------------------------------------------------------------


def described(status: str, **more: Any) -> Object:
    return {"TrainingJobName": "gpt-0a1b2c-1", "TrainingJobArn": "arn:job", "TrainingJobStatus": status, **more}


# status, failure reason, secondary status, spec's change, do, state, counted, why
ENDS = [
    ("Failed", "AlgorithmError: exit code 1", "Failed", {}, Do.CLEAR, State.RESTARTING, True, "the program failed: a restart"),
    ("Failed", "CapacityError: Unable to provision", "Failed", {}, Do.CLEAR, State.NO_CAPACITY, False, "nobody's fault"),
    ("Failed", "InternalServerError: try again", "Failed", {}, Do.CLEAR, State.RESTARTING, False, "nobody's fault"),
    ("Failed", "ClientError: image not found", "Failed", {}, Do.CLEAR, State.JOB_REFUSED, None, "another would only repeat it"),
    (
        "Failed",
        "AlgorithmError: x",
        "Failed",
        {"limits": {"maxRestarts": 0}},
        Do.CLEAR,
        State.RESTARTS_EXHAUSTED,
        None,
        "no more",
    ),
    ("Stopped", "", "Stopped", {}, Do.CLEAR, State.RESTARTING, False, "somebody stopped it: never success"),
    ("Stopped", "", "MaxRuntimeExceeded", {}, Do.CLEAR, State.DEADLINE_EXCEEDED, None, "the limit of the run"),
    ("Stopped", "", "MaxWaitTimeExceeded", {}, Do.CLEAR, State.NO_CAPACITY, False, "no spare capacity: later"),
    ("Completed", "", "Completed", {}, Do.VERIFY, State.VERIFYING, None, "not before the model was read back"),
    ("InProgress", "", "Training", {}, Do.NOTHING, State.STARTING, None, "it runs"),
    ("Stopping", "", "Stopping", {}, Do.NOTHING, State.STARTING, None, "how it ends says why"),
]


@pytest.mark.parametrize(("status", "failure", "secondary", "change", "do", "state", "counted", "why"), ENDS)
def test_how_a_job_ends_decides_what_comes_next(
    status: str, failure: str, secondary: str, change: Object, do: Do, state: State, counted: bool | None, why: str
) -> None:
    seen = observe.attempt(1, 1, described(status, FailureReason=failure, SecondaryStatus=secondary))
    made = plan.decide(spec(**change), {"attempt": 1}, Observed(seen), BEGIN)
    assert (made.do, made.state) == (do, state), why
    assert (made.end.counted if made.end else None) == counted, why
    if failure:
        assert failure in made.message, "its own words"


def test_attempts_without_capacity_follow_with_growing_pauses() -> None:
    seen = observe.attempt(1, 1, described("Failed", FailureReason="CapacityError: none", SecondaryStatus="Failed"))
    ends = [
        plan.decide(spec(), {"restarts": {"uncounted": n}}, Observed(seen, instance_type="ml.g5.2xlarge"), BEGIN).end
        for n in range(4)
    ]
    assert [end.retry_after_seconds for end in ends if end] == [10.0, 20.0, 40.0, 80.0]


def test_a_run_that_has_cost_its_limit_is_stopped_and_until_then_looked_at_in_time() -> None:
    running = Attempt(1, 1, JobState.ACTIVE, "arn", cloud=CloudJob("arn", "Training", started=True))
    seen = Observed(running, instance_type="ml.a.x", prices={"ml.a.x": Decimal(36)})
    limited = spec(limits={"maxCostUSD": "1.00"})
    early = {"attempt": 1, "attemptStartTime": "2026-01-01T11:59:00Z"}  # 60 s: 0.60 USD
    late = {"attempt": 1, "attemptStartTime": "2026-01-01T11:58:00Z"}  # 120 s: 1.20 USD
    going = plan.decide(limited, early, seen, BEGIN)
    assert (going.state, going.look_again) == (State.RUNNING, pytest.approx(41.0))
    assert plan.decide(limited, late, seen, BEGIN).state is State.COST_EXCEEDED
    assert plan.decide(limited, late, Observed(running), BEGIN).state is State.RUNNING, "what has no price exceeds nothing"


def test_a_listing_and_a_description_of_the_same_job_are_equal_until_it_changes() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    told = described("InProgress", LastModifiedTime=at)
    assert observe.seen(told) == observe.entry({"TrainingJobStatus": "InProgress", "LastModifiedTime": at})
    assert observe.seen(described("Stopping", LastModifiedTime=at)) is not None, "it still costs"
    assert observe.seen(described("Stopped", LastModifiedTime=at)) is None


def test_another_run_does_not_go_on_from_the_checkpoints_of_the_one_before() -> None:
    first, second = (asked(spec(WHOLE, runID=run))["CheckpointConfig"]["S3Uri"] for run in ("1", "2"))
    assert first != second
    assert asked(spec(WHOLE, runID="1"), number=2)["CheckpointConfig"]["S3Uri"] == first, "another attempt does"


# phase of the job, how it stands, state, reason
LIMITED = [
    ("Training", "InProgress", State.DEADLINE_EXCEEDED, "what runs is limited"),
    ("Interrupted", "InProgress", State.RUNNING, "what waits for spare capacity has no instances"),
    ("Failed", "Failed", State.RESTARTING, "what has ended is judged by how it ended, however late that is seen"),
]


@pytest.mark.parametrize(("phase", "stands", "state", "reason"), LIMITED, ids=[row[-1] for row in LIMITED])
def test_limits_are_for_what_runs(phase: str, stands: str, state: State, reason: str) -> None:
    failure = {"FailureReason": "AlgorithmError: exit code 1"} if stands == "Failed" else {}
    seen = observe.attempt(1, 1, described(stands, SecondaryStatus=phase, TrainingStartTime=BEGIN, **failure))
    status = {"attempt": 1, "externalID": "arn:job", "attemptStartTime": stamp(BEGIN - timedelta(hours=3))}
    assert plan.decide(spec(limits={"maxRuntimeSeconds": 3600}), status, Observed(seen), BEGIN).state is state, reason


def test_a_fault_of_aws_that_lasts_is_met_with_growing_pauses() -> None:
    failed = observe.attempt(4, 1, described("Failed", SecondaryStatus="Failed", FailureReason="InternalServerError: x"))
    status = {"attempt": 4, "attemptStartTime": stamp(BEGIN), "restarts": {"count": 0, "uncounted": 3}}
    decision = plan.decide(spec(), status, Observed(failed), BEGIN)
    assert decision.end is not None
    assert decision.end.retry_after_seconds == 40.0, "each attempt starts instances"


# types, passed over before, type without capacity, remembered, next in line, why
ROUNDS = [
    (("a",), (), "a", (), "a", "with one type every round is of one attempt"),
    (("a", "b"), (), "a", ("a",), "b", "the next is tried"),
    (("a", "b"), ("a",), "b", (), "a", "the last: the first is next again"),
    (("a", "b", "c"), ("b",), "a", ("b", "a"), "c", "b had none before: c is left"),
    (("a", "b"), ("a",), "a", (), "a", "b was refused for want of quota, and a had none again: the round is over"),
]


@pytest.mark.parametrize(("types", "over", "name", "kept", "following", "why"), ROUNDS, ids=[row[-1] for row in ROUNDS])
def test_a_type_without_capacity_is_passed_over_until_the_others_were_tried(
    types: tuple[str, ...], over: tuple[str, ...], name: str, kept: tuple[str, ...], following: str, why: str
) -> None:
    made = instances.after(types, tuple((each, "none") for each in over), name, "no room")
    assert tuple(each for each, _ in made) == kept, why
    assert instances.in_line(types, made)[0] == following, why


def test_the_next_type_follows_at_once_and_the_next_round_after_a_pause() -> None:
    failed = observe.attempt(2, 1, described("Failed", FailureReason="CapacityError: none", SecondaryStatus="Failed"))
    two, over = spec({"instanceTypes": ["ml.a.x", "ml.b.x"]}), [{"instanceType": "ml.a.x", "reason": "none"}]
    first = plan.decide(two, {"restarts": {"uncounted": 2}}, Observed(failed, instance_type="ml.a.x"), BEGIN)
    assert first.end is not None
    assert (first.end.retry_after_seconds, first.end.counted) == (0.0, False)
    assert "ml.b.x is tried next" in first.message
    status = {"passedOver": over, "restarts": {"uncounted": 3}}
    second = plan.decide(two, status, Observed(failed, instance_type="ml.b.x"), BEGIN)
    assert second.end is not None
    assert second.end.retry_after_seconds == 20.0, "the second round"


# usage of ended attempts, seconds that the current one runs, US dollars, why
BILLS: list[tuple[list[Object], float, str | None, str]] = [
    ([], 0, "0", "nothing has run"),
    ([], 1800, "1", "half an hour of b"),
    ([{"instanceType": "ml.a.x", "seconds": 3600}], 1800, "2", "each attempt by its own type's price"),
    ([{"instanceType": "ml.none.x", "seconds": 1}], 1800, None, "a part that has no price makes the sum unknown"),
]


@pytest.mark.parametrize(("usage", "seconds", "dollars", "why"), BILLS, ids=[row[-1] for row in BILLS])
def test_a_run_costs_what_its_attempts_cost_by_their_types(
    usage: list[Object], seconds: float, dollars: str | None, why: str
) -> None:
    prices = {"ml.a.x": Decimal(1), "ml.b.x": Decimal(2)}
    status = {"usage": usage, **({"attemptStartTime": stamp(BEGIN - timedelta(seconds=seconds))} if seconds else {})}
    made = plan.accrued(Observed(Attempt(1, 1), instance_type="ml.b.x", prices=prices), status, BEGIN)
    assert made == (None if dollars is None else Decimal(dollars)), why


def test_a_limit_that_the_known_part_of_a_cost_has_reached_is_kept() -> None:
    """An earlier attempt was on a type without a price: the sum is not known, but it is more than this."""
    running = Attempt(2, 1, JobState.ACTIVE, "arn", cloud=CloudJob("arn", "Training", started=True))
    seen = Observed(running, instance_type="ml.a.x", prices={"ml.a.x": Decimal(36)})
    status = {
        "attempt": 2, "endedAttempt": 1, "attemptStartTime": stamp(BEGIN - timedelta(seconds=120)),
        "usage": [{"instanceType": "ml.none.x", "seconds": 5}],
    }  # fmt: skip
    assert plan.decide(spec(limits={"maxCostUSD": "1.00"}), status, seen, BEGIN).state is State.COST_EXCEEDED
    going = plan.decide(spec(limits={"maxCostUSD": "2.00"}), status, seen, BEGIN)
    assert (going.state, going.look_again) == (State.RUNNING, pytest.approx(81.0)), "looked at again in time"


# status, what the service bills, what is kept, why
USED: list[tuple[Object, int | None, list[Object] | None, str]] = [
    ({}, None, None, "an attempt that never ran costs nothing"),
    ({}, 7, [{"instanceType": "ml.a.x", "seconds": 7}], "one that nobody saw running does, if it is billed"),
    (
        {"usage": [{"instanceType": "ml.b.x", "seconds": 5}], "attemptStartTime": stamp(BEGIN - timedelta(seconds=60))}, None,
        [{"instanceType": "ml.a.x", "seconds": 60}, {"instanceType": "ml.b.x", "seconds": 5}], "as long as it was seen to run",
    ),
    (
        {"usage": [{"instanceType": "ml.a.x", "seconds": 5}], "attemptStartTime": stamp(BEGIN - timedelta(seconds=60))}, 20,
        [{"instanceType": "ml.a.x", "seconds": 25}], "what is billed is less than the time on spot instances",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "billed", "kept", "why"), USED, ids=[row[-1] for row in USED])
def test_what_is_billed_is_kept_by_type(status: Object, billed: int | None, kept: list[Object] | None, why: str) -> None:
    attempt = Attempt(1, 1, cloud=CloudJob("arn", billable_seconds=billed))
    assert instances.used(status, Observed(attempt, instance_type="ml.a.x"), BEGIN) == kept, why


# -- an algorithm's own demands -------------------------------------------------------------------------------------------


def declared(name: str, kind: str, range_: Object | None = None, **more: Any) -> Object:
    return {"Name": name, "Type": kind, **({"Range": range_} if range_ else {}), **more}


def between(kind: str, least: str, most: str) -> Object:
    return {f"{kind}ParameterRangeSpecification": {"MinValue": least, "MaxValue": most}}


TAKES: Object = {
    "SupportedTrainingInstanceTypes": ["ml.p4de.24xlarge", "ml.p5.48xlarge"],
    "SupportedHyperParameters": [
        declared("epochs", "Integer", between("Integer", "1", "10"), IsRequired=True),
        declared("lr", "Continuous", between("Continuous", "0.000001", "0.1"), DefaultValue="0.01"),
        declared("mode", "Categorical", {"CategoricalParameterRangeSpecification": {"Values": ["lora", "full"]}}),
        declared("name", "FreeText"),
        declared("seed", "Integer"),
    ],
    "TrainingChannels": [{"Name": "train", "IsRequired": True}, {"Name": "evaluation"}],
}
GOOD: Object = {"epochs": "3", "lr": "1e-3", "mode": "lora", "name": "any thing", "seed": "7"}
# inputs, parameters, member's change, what is said of it, why
DEMANDS: list[tuple[list[str], Object, Object, list[str], str]] = [
    (["train"], GOOD, {}, [], "all fits"),
    (["train", "evaluation"], {"epochs": "10"}, {}, [], "limits are inclusive, and what has a default may be left out"),
    (["train"], GOOD, {"instanceTypes": ["ml.p5.48xlarge", "ml.g5.2xlarge"]}, ["ml.g5.2xlarge is not among"], "each type counts"),
    (["train"], GOOD, {"instanceCount": 2}, ["it trains on one instance only"], "not distributed"),
    (["train"], {}, {}, ["spec.parameters.epochs is required"], "a missing one"),
    (["train"], {**GOOD, "epoch": "3"}, {}, ["epoch is unknown"], "mistyped"),
    (["train"], {**GOOD, "epochs": "2.5"}, {}, ["'2.5' is not a whole number"], "an integer"),
    (["train"], {**GOOD, "epochs": "11"}, {}, ["'11' is not between 1 and 10"], "out of range"),
    (["train"], {**GOOD, "lr": "nan"}, {}, ["'nan' is not a number"], "no number is within no limits"),
    (["train"], {**GOOD, "lr": "fast"}, {}, ["'fast' is not a number"], "text"),
    (["train"], {**GOOD, "mode": "LoRA"}, {}, ["'LoRA' is not one of lora, full"], "case matters"),
    ([], GOOD, {}, ["the channel 'train' is required"], "a missing channel"),
    (["train", "test"], GOOD, {}, ["'test' is no channel of it"], "an unknown channel"),
    ([], {"epoch": "3"}, {}, ["epoch is unknown", "epochs is required", "'train' is required"], "all is told at once"),
]


@pytest.mark.parametrize(("inputs", "parameters", "change", "said", "why"), DEMANDS, ids=[row[-1] for row in DEMANDS])
def test_what_an_algorithm_would_not_take_is_told_before_it_is_asked(
    inputs: list[str], parameters: Object, change: Object, said: list[str], why: str
) -> None:
    job = {"algorithm": {"algorithmARN": ALGORITHM}, "instanceTypes": ["ml.p5.48xlarge"], **change}
    given = [{"name": name, "uri": f"s3://data/{name}/"} for name in inputs]
    found = list(algorithm.problems(TAKES, spec(job, inputs=given, parameters=parameters)))
    assert len(found) == len(said), (why, found)
    assert all(part in line for part, line in zip(said, found, strict=True)), (why, found)


def test_an_algorithm_that_declares_no_parameters_takes_what_it_takes() -> None:
    takes = {"SupportedTrainingInstanceTypes": ["ml.g5.2xlarge"]}
    assert list(algorithm.problems(takes, spec(parameters={"any": "x"}))) == []


# -- the record ----------------------------------------------------------------------------------------------------------


def test_a_record_is_of_this_run_only_where_run_id_and_spec_are_the_same() -> None:
    body = record.made(OWNER, spec(runID="a"), {"ok": True})
    assert record.of_this_run(body, spec(runID="a")) is not None
    assert record.of_this_run(body, spec(runID="b")) is None
    assert record.of_this_run(body, spec(WHOLE, runID="a")) is None
    for broken in (b"", b"[]", b"{}", b'{"report": 1}'):
        assert record.of_this_run(broken, spec(runID="a")) is None


# head, digest
HEADS = [
    ({"ChecksumSHA256": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="}, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ({"ChecksumSHA256": "abc=-3", "ETag": '"e-3"'}, "etag:e-3"),
    ({"ETag": '"e"'}, "etag:e"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "digest"), HEADS)
def test_a_model_is_named_by_its_content(head: Object, digest: str) -> None:
    assert record.digest(head) == digest


def test_an_empty_model_is_none() -> None:
    assert record.report(UID, "s3://b/k", {"ContentLength": 0}, {})["ok"] is False
