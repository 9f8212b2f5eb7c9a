"""Every rule of ModelEndpoint's schema, tried on the real API server."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.errors import Invalid
from support import cluster
from support.refused import REMOVE, changed, is_refused, tried

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/serving"


def endpoint(name: str, **spec: Any) -> Object:
    return {"apiVersion": "millrace.dev/v1alpha1", "kind": "ModelEndpoint", "metadata": {"name": name}, "spec": spec}


PODS = endpoint(
    "pods",
    model={"uri": "claim://results/gpt/model"},
    kubernetes={"replicas": 2},
    probe={"request": {"path": "/v1/completions", "body": {"prompt": "x"}}, "expect": {"contains": "text"}},
    schedule={"timeZone": "Europe/Berlin", "up": [{"days": ["Mon", "Fri"], "from": "08:00", "to": "18:30"}]},
)
IMAGE = endpoint("image", model={"uri": "file:///models/m"}, kubernetes={"image": "x", "protocol": "V2"})
HUB = endpoint("hub", model={"jumpStart": {"modelID": "huggingface-llm-falcon2-11b"}}, sageMaker={"roleARN": ROLE})
OWN = endpoint(
    "own",
    model={"uri": "s3://models/m.tar.gz"},
    sageMaker={
        "roleARN": ROLE,
        "image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/serve:1",
        "instanceTypes": ["ml.g5.xlarge", "ml.g5.2xlarge"],
        "replicas": {"min": 1, "max": 4, "targetInvocationsPerInstance": 200},
    },
    accountRef={"name": "production"},
    tags={"team": "a"},
    probe={"request": {"body": {"inputs": "x"}}},
)
VENDOR = endpoint(
    "vendor",
    model={"marketplace": {"modelPackageARN": "arn:aws:sagemaker:us-east-1:865070037744:model-package/cohere-command-r-1"}},
    sageMaker={"roleARN": ROLE, "instanceTypes": ["ml.p4de.24xlarge"]},
    probe={"request": {"body": {"message": "x"}}},
)
GOOD = [PODS, IMAGE, HUB, OWN, VENDOR]


def _row(base: Object, reason: str, message: str, changes: Object) -> Any:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return pytest.param(base, dotted, message, id=f"{base['metadata']['name']}: {reason}")


def P(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802  reads as a row of the table
    return _row(PODS, reason, message, changes)


def S(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    return _row(OWN, reason, message, changes)


def H(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    return _row(HUB, reason, message, changes)


def V(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    return _row(VENDOR, reason, message, changes)


MODELS = "exactly one of `trainingJobRef`, `uri`, `jumpStart`, `marketplace`"
BAD = [
    P("no place to serve at", "exactly one of `kubernetes`, `sageMaker`", spec__kubernetes=REMOVE),
    P("two places to serve at", "exactly one of `kubernetes`, `sageMaker`", spec__sageMaker={"roleARN": ROLE}),
    P("no model", MODELS, spec__model={}),
    P("two models", MODELS, spec__model__trainingJobRef={"name": "t"}),
    P("a name that no Service may have", "must begin with a letter", metadata__name="7b"),
    P("a model within no image", "`kubernetes.image` must be set", spec__model={"uri": "file:///models/m"}),
    P("a digest of an image's model", "`digest` needs", spec__model={"uri": "file:///m", "digest": f"sha256:{'0' * 64}"}),
    P("a command without its image", "`command` needs `image`", spec__kubernetes__command=["serve"]),
    P("arguments without an image", "`args` needs `image`", spec__kubernetes__args=["--x"]),
    P("our server speaks OpenAI", "protocol V2 needs `image`", spec__kubernetes__protocol="V2"),
    P("a server of unknown manners", "protocol Custom needs", spec__kubernetes={"image": "x", "protocol": "Custom"}),
    P("no time for requests in flight", "must be longer than `drainSeconds`", spec__kubernetes__drainSeconds=60),
    P("a golden request to nowhere", "`probe.request.path` must be set for `kubernetes`", spec__probe__request__path=REMOVE),
    P("an account for pods", "`accountRef` is for `sageMaker`", spec__accountRef={"name": "a"}),
    P("tags for pods", "`tags` are for `sageMaker`", spec__tags={"a": "b"}),
    P("pods do not read S3", "need `sageMaker`", spec__model={"uri": "s3://models/m/"}),
    P("pods know no hub", "need `sageMaker`", spec__model={"jumpStart": {"modelID": "m"}}),
    P("requests to pods that nobody counts", "`idleSeconds` needs `sageMaker`", spec__idleSeconds=600),
    S("idle before anybody could ask", "spec.idleSeconds", spec__idleSeconds=60),
    P("hours without any", "`from` and `to` must differ", spec__schedule={"up": [{"from": "08:00", "to": "08:00"}]}),
    P("no hours at all", "spec.schedule.up", spec__schedule={"up": []}),
    P("an hour that there is not", "spec.schedule.up[0].to", spec__schedule={"up": [{"from": "08:00", "to": "24:00"}]}),
    S("SageMaker reads no claims", "SageMaker reads models from s3://", spec__model={"uri": "claim://results/m"}),
    S("a bucket alone", "spec.model.uri", spec__model={"uri": "s3://models"}),
    S("no image for a model of one's own", "`sageMaker.image` must be set", spec__sageMaker__image=REMOVE),
    S("no instance type", "`sageMaker.instanceTypes` must be set", spec__sageMaker__instanceTypes=REMOVE),
    S("an instance type of EC2", "spec.sageMaker.instanceTypes[0]", spec__sageMaker__instanceTypes=["g5.xlarge"]),
    S("no golden request", "`probe` must be set", spec__probe=REMOVE),
    S("a path that SageMaker has not", "may not be for `sageMaker`", spec__probe__request__path="/invocations"),
    S("no role", "spec.sageMaker.roleARN: Required value", spec__sageMaker__roleARN=REMOVE),
    S("a golden request by GET", "SageMaker is asked by POST", spec__probe__request__method="GET"),
    S("an answer other than 200", "gives no other answer than 200", spec__probe__expect={"status": 404}),
    S("at most less than at least", "`max` may not be less", spec__sageMaker__replicas={"min": 3, "max": 2}),
    S("nothing to scale by", "`targetInvocationsPerInstance` goes with", spec__sageMaker__replicas={"min": 1, "max": 2}),
    S(
        "nothing to scale",
        "`targetInvocationsPerInstance` goes with",
        spec__sageMaker__replicas={"targetInvocationsPerInstance": 9},
    ),
    S("a network without a guard", "securityGroupIDs: Required value", spec__sageMaker__vpc={"subnets": ["subnet-1"]}),
    H("an image for a hub's model", "may not be for one of the hub", spec__sageMaker__image="x"),
    V("variables for a vendor's container", "its package has its own", spec__sageMaker__env=[{"name": "A", "value": "b"}]),
    H("a version with a v", "spec.model.jumpStart.version", spec__model={"jumpStart": {"modelID": "m", "version": "v1"}}),
]


@pytest.mark.parametrize("base", GOOD, ids=[g["metadata"]["name"] for g in GOOD])
async def test_the_good_ones_are_taken(client: Client, base: Object) -> None:
    await tried(client, "default", base)


@pytest.mark.parametrize(("base", "changes", "message"), BAD)
async def test_it_is_refused_with_a_message_that_says_why(client: Client, base: Object, changes: Object, message: str) -> None:
    await is_refused(client, changed(base, changes), message)


async def test_what_runs_in_one_account_does_not_move_to_another(client: Client, ns: str) -> None:
    made = {**OWN, "metadata": {"name": "own", "namespace": ns}, "spec": {**OWN["spec"], "suspend": True}}
    await client.create(cluster.MODEL_ENDPOINTS, made)
    with pytest.raises(Invalid, match="`accountRef` may not change"):
        await client.patch(cluster.MODEL_ENDPOINTS, ns, "own", {"spec": {"accountRef": {"name": "other"}}})
    with pytest.raises(Invalid, match="`accountRef` may not change"):
        await client.patch(cluster.MODEL_ENDPOINTS, ns, "own", {"spec": {"accountRef": None}})
