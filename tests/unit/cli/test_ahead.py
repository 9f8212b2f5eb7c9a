"""What `millrace plan` says that objects would cost, and where `millrace logs` looks for what runs on AWS."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.aws.places import CloudLog
from millrace.cli import ahead
from millrace.cli.cloudlogs import place
from millrace.cli.main import run
from millrace.cli.problems import Problem
from millrace.data.prices import Prices
from millrace.kube.errors import Forbidden
from millrace_controllers.modelendpoint import CONTROLLER as ENDPOINT
from millrace_controllers.trainingjob import CONTROLLER as TRAINING

Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/sagemaker"
UID = "0a1b2c3d-0000-4000-8000-000000000000"


class Dear(Prices):
    """A dollar for a, two for b."""

    def hourly(self, region: str, use: str, type_: str) -> Decimal | None:
        return {"ml.a.x": Decimal(1), "ml.b.x": Decimal(2)}.get(type_)


def training(types: list[str], limits: Object | None = None, **job: Any) -> Object:
    member = {"algorithm": {"image": "repo/x:1"}, "roleARN": ROLE, "instanceTypes": types, **job}
    spec = {"output": {"uri": "s3://models"}, "sageMaker": member, **({"limits": limits} if limits else {})}
    return {"kind": "TrainingJob", "metadata": {"name": "gpt", "namespace": "team", "uid": UID}, "spec": spec}


def endpoint(types: list[str] | None, replicas: Object | None = None, **spec: Any) -> Object:
    member: Object = {
        "roleARN": ROLE,
        **({"instanceTypes": types} if types else {}),
        **({"replicas": replicas} if replicas else {}),
    }
    made = {"model": {"jumpStart": {"modelID": "m"}}, "sageMaker": member, **spec}
    return {"kind": "ModelEndpoint", "metadata": {"name": "falcon", "namespace": "team", "uid": UID}, "spec": made}


PODS = {"kind": "TrainingJob", "spec": {"output": {"claim": {"name": "c"}}, "kubernetes": {"runtime": "nemo"}}}
SCALED = {"min": 1, "max": 3, "targetInvocationsPerInstance": 9}
# object, said, reason
COSTS: list[tuple[Object, list[str], str]] = [
    (training(["ml.a.x"], instanceCount=2), ["cost on ml.a.x: 2.00 USD an hour"], "of all instances"),
    (
        training(["ml.a.x", "ml.b.x"], {"maxRuntimeSeconds": 7200}),
        [
            "cost on ml.a.x: 1.00 USD an hour",
            "cost on ml.b.x: 2.00 USD an hour",
            "cost in all: at most 4.00 USD, by limits.maxRuntimeSeconds",
        ],
        "at most on the dearest",
    ),
    (
        training(["ml.a.x"], {"maxRuntimeSeconds": 7200, "maxCostUSD": "1.50"}),
        ["cost on ml.a.x: 1.00 USD an hour", "cost in all: at most 1.50 USD, by limits.maxCostUSD"],
        "the lower of two limits",
    ),
    (
        training(["ml.a.x", "ml.c.x"], {"maxRuntimeSeconds": 7200, "maxCostUSD": "5"}, spot={}),
        [
            "cost on ml.a.x: 1.00 USD an hour (on demand; spot costs less)",
            "cost on ml.c.x: no price is known in eu-west-1",
            "cost in all: not known: limits.maxCostUSD does not hold on a type without a price",
        ],
        "what has no price makes no sum",
    ),
    (endpoint(["ml.b.x"], SCALED), ["cost on ml.b.x: 2.00 to 6.00 USD an hour (all the time)"], "with the load"),
    (
        endpoint(["ml.b.x"], idleSeconds=900, schedule={"up": [{"from": "08:00", "to": "18:00"}]}),
        ["cost on ml.b.x: 2.00 USD an hour (while spec.schedule has it up, until nobody has asked it for 900 s)"],
        "not all the time",
    ),
    (endpoint(None), ["cost: not known, for the instance type is that of the hub's card (all the time)"], "the hub's default"),
    (PODS, [], "pods have no price"),
]


@pytest.mark.parametrize(("obj", "said", "reason"), COSTS, ids=[row[-1] for row in COSTS])
def test_what_it_would_cost(obj: Object, said: list[str], reason: str) -> None:
    controller = ENDPOINT if obj["kind"] == "ModelEndpoint" else TRAINING
    assert list(ahead.lines(controller, obj, "eu-west-1", Dear())) == said, reason


def test_without_a_region_nothing_has_a_price_and_that_is_said() -> None:
    said = list(ahead.lines(TRAINING, training(["ml.a.x"]), None, Dear()))
    assert said == ["cost: not known, for the region of CloudAccount 'default' is not"]


class Cluster:
    """A cluster with one account, or one that lets nobody look."""

    def __init__(self, denied: bool = False) -> None:
        self.client, self.denied = self, denied

    async def find(self, _resource: Any, namespace: str, name: str) -> Object | None:
        if self.denied:
            raise Forbidden(403, "Forbidden", "no")
        return {"spec": {"region": "eu-central-1"}} if (namespace, name) == ("team", "default") else None


def account(region: str, **metadata: Any) -> Object:
    return {"kind": "CloudAccount", "metadata": {"name": "default", **metadata}, "spec": {"region": region}}


# cluster, account named, planned beside it, region, reason
REGIONS: list[tuple[Any, str, list[Object], str | None, str]] = [
    (Cluster(), "default", [account("us-east-1")], "us-east-1", "what is planned is newer than what is there"),
    (Cluster(), "default", [account("us-east-1", namespace="other")], "eu-central-1", "another namespace's is not ours"),
    (Cluster(), "default", [], "eu-central-1", "as it is in the cluster"),
    (Cluster(), "none", [], None, "there is none of the name"),
    (Cluster(denied=True), "default", [], None, "who may not look still gets a plan"),
    (None, "default", [], None, "there is no cluster"),
]


@pytest.mark.parametrize(("cluster", "name", "planned", "region", "reason"), REGIONS, ids=[row[-1] for row in REGIONS])
async def test_the_region_is_that_of_the_account(
    cluster: Any, name: str, planned: list[Object], region: str | None, reason: str
) -> None:
    obj = training(["ml.a.x"])
    obj["spec"]["accountRef"] = {"name": name}
    assert await ahead.region_of(cluster, obj, planned) == region, reason


def test_plan_prints_the_request_and_its_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "all.yaml"
    docs = [
        {"apiVersion": "millrace.dev/v1alpha1", **doc}
        for doc in (account("us-east-1"), training(["ml.g5.2xlarge"], {"maxRuntimeSeconds": 7200}))
    ]
    path.write_text(yaml.safe_dump_all(docs))
    with pytest.raises(SystemExit) as ended:
        run(["plan", "--offline", "-f", str(path)])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  create  SageMakerTrainingJob/gpt-‹uid›-1" in lines
    assert "  cost on ml.g5.2xlarge: 1.52 USD an hour" in lines
    assert "  cost in all: at most 3.03 USD, by limits.maxRuntimeSeconds" in lines


# -- logs ----------------------------------------------------------------------------------------------------------------


JOBS = "/aws/sagemaker/TrainingJobs"
# status, attempt asked for, rank, place, reason
PLACES: list[tuple[Object, int | None, int, CloudLog, str]] = [
    ({"attempt": 2, "endedAttempt": 1}, None, 0, CloudLog("default", JOBS, "gpt-0a1b2c-2/algo-1-"), "the newest"),
    ({"attempt": 2, "endedAttempt": 1}, 1, 0, CloudLog("default", JOBS, "gpt-0a1b2c-1/algo-1-", ends=True), "one that is over"),
    ({"attempt": 1}, None, 3, CloudLog("default", JOBS, "gpt-0a1b2c-1/algo-4-"), "another host"),
    ({"attempt": 1, "completionTime": "x"}, None, 0, CloudLog("default", JOBS, "gpt-0a1b2c-1/algo-1-", ends=True), "the end"),
]


@pytest.mark.parametrize(("status", "attempt", "rank", "found", "reason"), PLACES, ids=[row[-1] for row in PLACES])
def test_where_the_log_of_an_attempt_is(status: Object, attempt: int | None, rank: int, found: CloudLog, reason: str) -> None:
    assert TRAINING.cloud_log({**training(["ml.a.x"]), "status": status}, attempt, rank) == found, reason


def test_where_an_endpoints_log_is() -> None:
    obj = {**endpoint(["ml.a.x"], accountRef={"name": "eu"}), "status": {"sageMaker": {"endpointName": "falcon-0a1b2c"}}}
    assert ENDPOINT.cloud_log(obj, None, 1) == CloudLog("eu", "/aws/sagemaker/Endpoints/falcon-0a1b2c", place=1)


def test_what_was_not_made_has_no_log_and_pods_have_theirs_elsewhere() -> None:
    for controller, obj in ((TRAINING, training(["ml.a.x"])), (ENDPOINT, endpoint(["ml.a.x"]))):
        with pytest.raises(Problem, match="has made nothing on AWS yet"):
            place(controller, obj, "x/y", None, 0)
    assert TRAINING.cloud_log(PODS, None, 0) is None
