"""Every rule of the schemas, tried on the real API server: what is wrong is refused at apply time, and the message says so."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.kube.client import Client
from millrace.kube.errors import Invalid
from support import cluster
from support.refused import REMOVE, changed, is_refused, tried

pytestmark = pytest.mark.cluster
Object = dict[str, Any]

DATASET: Object = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "Dataset",
    "metadata": {"name": "d"},
    "spec": {
        "source": {"generated": {"name": "csv-rows"}},
        "format": "csv",
        "publish": {"claim": {"name": "data", "path": "d"}},
        "split": {"train": "0.8", "validation": "0.2", "stratifyBy": "label"},
        "columns": [{"name": "label", "type": "string"}],
    },
}
JOB: Object = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "t"},
    "spec": {
        "inputs": [{"name": "train", "datasetRef": {"name": "d"}, "split": "train"}],
        "output": {"claim": {"name": "results", "path": "t"}},
        "parameters": {"learningRate": "6e-4"},
        "metrics": [{"name": "loss", "regex": "loss ([0-9.]+)"}],
        "kubernetes": {"image": "x", "command": ["train"], "nodes": 2, "resources": {"cpu": "1"}},
    },
}
ROLE = "arn:aws:iam::111122223333:role/millrace"
ACCOUNT: Object = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "CloudAccount",
    "metadata": {"name": "default"},
    "spec": {
        "region": "us-east-1",
        "roleARN": ROLE,
        "expectedAccountID": "111122223333",
        "events": {"managed": {}},
        "budget": {"monthlyUSD": "500"},
    },
}
SAGE_MAKER: Object = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "s"},
    "spec": {
        "inputs": [{"name": "train", "uri": "s3://data/train/"}],
        "output": {"uri": "s3://data/models"},
        "metrics": [{"name": "loss", "regex": "loss ([0-9.]+)"}],
        "limits": {"maxCostUSD": "20"},
        "tags": {"team": "a"},
        "sageMaker": {
            "algorithm": {"image": "repo/x:1", "command": ["train"]},
            "roleARN": ROLE,
            "instanceTypes": ["ml.g5.2xlarge"],
            "spot": {"maxWaitSeconds": 600},
            "vpc": {"subnets": ["subnet-1"], "securityGroupIDs": ["sg-1"]},
        },
    },
}
ALGORITHM = "arn:aws:sagemaker:us-east-1:865070037744:algorithm/tune-1"
NEMO = {"runtime": "nemo", "nodes": 2}


def D(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802  reads as a row of the table
    return pytest.param(DATASET, {k.replace("__", "."): v for k, v in changes.items()}, message, id=f"Dataset: {reason}")


def T(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    return pytest.param(JOB, {k.replace("__", "."): v for k, v in changes.items()}, message, id=f"TrainingJob: {reason}")


def A(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    return pytest.param(ACCOUNT, {k.replace("__", "."): v for k, v in changes.items()}, message, id=f"CloudAccount: {reason}")


def S(reason: str, message: str, **changes: Any) -> Any:  # noqa: N802
    changed_ = {k.replace("__", "."): v for k, v in changes.items()}
    return pytest.param(SAGE_MAKER, changed_, message, id=f"TrainingJob on SageMaker: {reason}")


BAD = [
    S("both members", "exactly one of `kubernetes`, `sageMaker`", spec__kubernetes={"runtime": "nemo"}),
    S("a claim as output", "`output.uri` with `sageMaker`", spec__output={"claim": {"name": "c"}}),
    S("a claim as input", "`inputs[].uri` goes with `sageMaker`", spec__inputs=[{"name": "train", "claim": {"name": "c"}}]),
    S("checkpoints of pods", "`checkpoint` needs `kubernetes`", spec__checkpoint={"everySteps": 5}),
    S("no algorithm", "exactly one of `image`, `script`, `algorithmARN`", spec__sageMaker__algorithm={}),
    S(
        "two algorithms",
        "exactly one of",
        spec__sageMaker__algorithm={"image": "x", "algorithmARN": ALGORITHM},
        spec__metrics=REMOVE,
    ),
    S("metrics of somebody else's algorithm", "`metrics` may not be set", spec__sageMaker__algorithm={"algorithmARN": ALGORITHM}),
    S(
        "whichever version is the newest by then",
        "`jumpStart.version` must be set",
        spec__metrics=REMOVE,
        spec__sageMaker__algorithm={"jumpStart": {"modelID": "m"}},
    ),
    S(
        "metrics of a hub's model",
        "`metrics` may not be set",
        spec__sageMaker__algorithm={"jumpStart": {"modelID": "m", "version": "1.0.0"}},
    ),
    S("no instance type", "spec.sageMaker.instanceTypes", spec__sageMaker__instanceTypes=[]),
    S("an instance type of EC2", "spec.sageMaker.instanceTypes[0]", spec__sageMaker__instanceTypes=["g5.2xlarge"]),
    S("an output that is no prefix", "spec.output.uri", spec__output={"uri": "https://data/models"}),
    S("a role by name", "spec.sageMaker.roleARN", spec__sageMaker__roleARN="sagemaker"),
    T("a cost limit for pods", "`limits.maxCostUSD` needs `sageMaker`", spec__limits={"maxCostUSD": "5"}),
    T(
        "an input in S3 for pods",
        "`inputs[].claim` with `kubernetes`",
        spec__inputs=[{"name": "train", "uri": "s3://data/x"}],
    ),
    A("no region", "spec.region: Required value", spec__region=REMOVE),
    A("a zone is no region", "spec.region", spec__region="us-east-1a"),
    A("an account with hyphens", "spec.expectedAccountID", spec__expectedAccountID="1111-2222-3333"),
    A("an account that is a number", "must be of type string", spec__expectedAccountID=111122223333),
    A("a user is no role", "spec.roleARN", spec__roleARN="arn:aws:iam::111122223333:user/ci"),
    A("a role of another account", "a role of another account", spec__expectedAccountID="444455556666"),
    A("events both ways", "exactly one of `managed`, `queueURL`", spec__events={"managed": {}, "queueURL": "https://sqs/1/q"}),
    A("events no way", "exactly one of `managed`, `queueURL`", spec__events={}),
    A("an endpoint with a path", "spec.endpointURL", spec__endpointURL="http://local-aws:4566/x"),
    A("a budget that is a number", "must be of type string", spec__budget={"monthlyUSD": 500}),
    A("a budget with another policy", "Unsupported value", spec__budget__onExceeded="Stop"),
    A("a field of kinds that make pods", 'unknown field "spec.serviceAccountName"', spec__serviceAccountName="x"),
    D("no source at all", "exactly one of `claim`, `inline`, `https`, `s3`, `generated`", spec__source={}),
    D(
        "two sources",
        "exactly one of `claim`",
        spec__source={"claim": {"name": "c"}, "generated": {"name": "csv-rows"}},
    ),
    D("nothing is published though the source is not a claim", "`publish` is required", spec__publish=REMOVE, spec__split=REMOVE),
    D(
        "two places to publish to",
        "exactly one of `claim`, `s3`",
        spec__publish={"claim": {"name": "d"}, "s3": {"uri": "s3://data"}},
    ),
    D("a bucket by its address", "spec.publish.s3.uri", spec__publish={"s3": {"uri": "https://data.s3.amazonaws.com"}}),
    D(
        "a Dataset that would read itself",
        "may not lie in `source.s3.uri`",
        spec__source={"s3": {"uri": "s3://data"}},
        spec__publish={"s3": {"uri": "s3://data/clean"}},
    ),
    D("an account that nothing uses", "`accountRef` goes with", spec__accountRef={"name": "default"}),
    D("a split with nowhere to write it", "`split` needs `publish`", spec__source={"claim": {"name": "c"}}, spec__publish=REMOVE),
    D("text has no columns to check", "`columns` may not be set for format text", spec__format="text", spec__split=REMOVE),
    D("text has no column to stratify by", "`split.stratifyBy` needs", spec__format="text", spec__columns=REMOVE),
    D("fractions that do not add up", "must add up to 1", spec__split__train="0.9"),
    D("an absolute path", "must be relative", spec__publish__claim__path="/d"),
    D("a path that leaves the claim", "may not contain '..'", spec__publish__claim__path="a/../../b"),
    D("a format nobody reads", "Unsupported value", spec__format="xml"),
    D("text has no quality", "`quality` needs", spec__format="text", spec__split=REMOVE, spec__columns=REMOVE, spec__quality={}),
    D("a table holds no conversations", "`conversations` needs format jsonl", spec__conversations={}),
    D(
        "roles of one name",
        "need names that differ",
        spec__format="jsonl",
        spec__conversations={"roles": {"system": "x", "user": "x"}},
    ),
    D(
        "mended examples with nowhere to go",
        "`conversations` that mends examples needs `publish`",
        spec__source={"claim": {"name": "c"}},
        spec__format="jsonl",
        spec__publish=REMOVE,
        spec__split=REMOVE,
        spec__conversations={"trailingUser": "DropTurn"},
    ),
    D("a transform of nothing", "at least one of `drop`", spec__transform={}),
    D(
        "a column that is dropped and renamed",
        "in `drop` or in `rename`, not in both",
        spec__transform={"drop": ["id"], "rename": {"id": "number"}},
    ),
    D(
        "a column that is cut twice",
        "`truncate` may name a column only once",
        spec__transform={"truncate": [{"column": "a", "characters": 1}, {"column": "a", "characters": 2}]},
    ),
    D("a sample of nothing", "spec.transform.sample.rows", spec__transform={"sample": {"rows": 0}}),
    D(
        "what becomes of too few rows is a choice of two",
        "Unsupported value",
        spec__transform={"sample": {"rows": 1, "fewer": "x"}},
    ),
    D(
        "text has no rows to transform",
        "`transform` needs `publish`",
        spec__format="text",
        spec__split=REMOVE,
        spec__columns=REMOVE,
        spec__transform={"sample": {"rows": 1}},
    ),
    D("no layout at all", "exactly one of `bedrock`, `comprehend`", spec__layout={}),
    D(
        "two layouts",
        "exactly one of `bedrock`, `comprehend`",
        spec__layout={"bedrock": {"customization": "FineTuning"}, "comprehend": {"classes": ["a", "b"]}},
    ),
    D("a customization that Bedrock has not", "Unsupported value", spec__layout={"bedrock": {"customization": "Tuning"}}),
    D("a classifier of one class", "spec.layout.comprehend.classes", spec__layout={"comprehend": {"classes": ["a"]}}),
    D(
        "a label that leads to no class",
        "`labels` may lead to `classes` only",
        spec__layout={"comprehend": {"classes": ["a", "b"], "labels": {"x": "c"}}},
    ),
    D(
        "a class that the delimiter would cut",
        "may not contain the `delimiter`",
        spec__layout={"comprehend": {"classes": ["a|b", "c"], "mode": "MultiLabel"}},
    ),
    D(
        "more classes than a document of several may have",
        "`classes` may be 100 at most",
        spec__layout={"comprehend": {"classes": [f"c{n}" for n in range(101)], "mode": "MultiLabel"}},
    ),
    D(
        "a delimiter that Comprehend does not take",
        "spec.layout.comprehend.delimiter",
        spec__layout={"comprehend": {"classes": ["a", "b"], "delimiter": "&"}},
    ),
    D(
        "a language that Comprehend does not train on",
        "Unsupported value",
        spec__layout={"comprehend": {"classes": ["a", "b"], "language": "ja"}},
    ),
    D(
        "languages of rows without that of all",
        "`languageColumn` needs `language`",
        spec__layout={"comprehend": {"classes": ["a", "b"], "languageColumn": "lang"}},
    ),
    D(
        "label and text in one column",
        "`label` and `text` must be two columns",
        spec__layout={"comprehend": {"classes": ["a", "b"], "text": "label"}},
    ),
    D(
        "text has no columns to lay out",
        "`layout` needs `publish`",
        spec__format="text",
        spec__split=REMOVE,
        spec__columns=REMOVE,
        spec__layout={"bedrock": {"customization": "FineTuning"}},
    ),
    D(
        "conversations are a layout of their own",
        "`layout` and `conversations` may not both be set",
        spec__format="jsonl",
        spec__conversations={},
        spec__layout={"bedrock": {"customization": "FineTuning"}},
    ),
    D(
        "records are not compared with rows",
        "`quality.compareWith` may not be set with `layout`",
        spec__quality={"compareWith": [{"name": "other"}]},
        spec__layout={"bedrock": {"customization": "FineTuning"}},
    ),
    D("a gate without a limit", "`above` must be set", spec__quality={"failOn": [{"check": "MissingValues"}]}),
    D(
        "a limit on what has no measure",
        "`above` must be set",
        spec__quality={"failOn": [{"check": "ConstantColumn", "above": "1"}]},
    ),
    D("a share above 1", "`above` is a share", spec__quality={"failOn": [{"check": "DuplicateRows", "above": "20"}]}),
    D(
        "a column of what is measured over rows",
        "`column` may not be set",
        spec__quality={"failOn": [{"check": "DuplicateRows", "column": "a", "above": "0"}]},
    ),
    D("a gate on no target", "needs `target`", spec__quality={"failOn": [{"check": "TargetLeakage", "above": "0.9"}]}),
    D("a problem without a target", "`problemType` needs `target`", spec__quality={"problemType": "Binary"}),
    D(
        "a gate on nothing to compare with",
        "needs `compareWith`",
        spec__quality={"failOn": [{"check": "SharedRows", "above": "0"}]},
    ),
    D("compared with itself", "may not name the Dataset itself", spec__quality={"compareWith": [{"name": "d"}]}),
    D("compared twice", "only once", spec__quality={"compareWith": [{"name": "a"}, {"name": "a"}]}),
    D("a check that there is not", "Unsupported value", spec__quality={"failOn": [{"check": "Luck", "above": "0"}]}),
    D("a digest that is none", "spec.source.https.sha256", spec__source={"https": {"url": "https://x/y", "sha256": "abc"}}),
    D("a name too long for its children's", "at most 40 characters", metadata__name="d" * 41),
    T("no backend", "exactly one of `kubernetes`, `sageMaker`", spec__kubernetes=REMOVE, spec__metrics=REMOVE),
    T("neither image nor runtime", "`image` or `runtime` must be set", spec__kubernetes__image=REMOVE),
    T(
        "a command beside a runtime",
        "`command` may not be set with `runtime`",
        spec__kubernetes={**NEMO, "command": ["x"]},
    ),
    T("torchrun without a script", "`args` must name the script", spec__kubernetes={"runtime": "torchrun"}, spec__metrics=REMOVE),
    T(
        "nemo with arguments",
        "`args` may not be set with runtime nemo",
        spec__kubernetes={**NEMO, "args": ["x"]},
        spec__metrics=REMOVE,
    ),
    T(
        "resources beside an instance type",
        "`instanceType` and `resources` may not both be set",
        spec__kubernetes__instanceType="p5.48xlarge",
    ),
    T(
        "metrics of a program whose output we do not see",
        "`metrics` needs `kubernetes.command`",
        spec__kubernetes__command=REMOVE,
    ),
    T("an input from nowhere", "exactly one of `datasetRef`, `claim`", spec__inputs=[{"name": "train"}]),
    T(
        "an input from two places",
        "exactly one of",
        spec__inputs=[{"name": "a", "datasetRef": {"name": "d"}, "claim": {"name": "c"}}],
    ),
    T("a split of a claim", "`split` needs `datasetRef`", spec__inputs=[{"name": "a", "claim": {"name": "c"}, "split": "train"}]),
    T("one input twice", "Duplicate value", spec__inputs=[{"name": "a", "claim": {"name": "c"}}] * 2),
    T(
        "a claim half described",
        "`storageClassName` and `sizeGiB` go together",
        spec__kubernetes__volumes=[{"claim": "c", "sizeGiB": 3}],
    ),
    T("no node", "should be greater than or equal to 1", spec__kubernetes__nodes=0),
    T("a parameter that is a number", "must be of type string", spec__parameters={"lr": 1}),
    T("a metric name with a blank", "spec.metrics[0].name", spec__metrics=[{"name": "my loss", "regex": "x"}]),
    T("an instance type without a size", "spec.kubernetes.instanceType", spec__kubernetes={**NEMO, "instanceType": "p5"}),
    T("a fault nobody detects", "Unsupported value", spec__kubernetes__faults={"detect": ["Boredom"]}),
    T("an unknown field", 'unknown field "spec.checkpont"', spec__checkpont={"keep": 1}),
]


@pytest.mark.parametrize(
    "base", [DATASET, JOB, SAGE_MAKER, ACCOUNT], ids=["Dataset", "TrainingJob", "TrainingJob on SageMaker", "CloudAccount"]
)
async def test_the_good_manifest_that_the_bad_ones_are_made_from_is_taken(client: Client, base: Object) -> None:
    await tried(client, "default", base)


# members of a Dataset's spec, reason
GOOD_ROWS: list[tuple[Object, str]] = [
    (
        {
            "transform": {
                "drop": ["id"],
                "rename": {"dialogue": "prompt", "summary": "completion"},
                "truncate": [{"column": "prompt", "characters": 6000}, {"column": "completion", "characters": 600}],
                "sample": {"rows": 10000, "seed": 42, "fewer": "UseAll"},
            },
            "layout": {"bedrock": {"customization": "FineTuning", "maxTokens": 4096}},
        },
        "rows made ready for Bedrock",
    ),
    (
        {
            "layout": {
                "comprehend": {
                    "classes": ["phishing", "nonphishing"],
                    "labels": {"not-phishing": "nonphishing"},
                    "mode": "MultiLabel",
                    "delimiter": "\\",
                    "language": "pt",
                    "languageColumn": "lang",
                }
            }
        },
        "a classifier with every member set",
    ),
    ({"layout": {"comprehend": {"classes": ["a|b", "c"]}}}, "a delimiter that nothing is joined with cuts nothing"),
]


@pytest.mark.parametrize(("members", "reason"), GOOD_ROWS, ids=[good[-1] for good in GOOD_ROWS])
async def test_rows_that_are_transformed_and_laid_out_are_taken(client: Client, members: Object, reason: str) -> None:
    await tried(client, "default", changed(DATASET, {f"spec.{name}": value for name, value in members.items()}))


@pytest.mark.parametrize(("base", "changes", "message"), BAD)
async def test_it_is_refused_with_a_message_that_says_why(client: Client, base: Object, changes: Object, message: str) -> None:
    await is_refused(client, changed(base, changes), message)


RUN_CHANGES = {
    "inputs": [{"name": "train", "claim": {"name": "other"}}],
    "output": {"claim": {"name": "elsewhere"}},
    "parameters": {"learningRate": "1"},
    "metrics": None,
    "checkpoint": {"everySteps": 5},
    "kubernetes": {"nodes": 3},
    "accountRef": {"name": "other"},
    "runID": "second",
}
STILL_EDITABLE = {
    "suspend": True,
    "limits": {"maxRestarts": 9},
    "deletionPolicy": "Retain",
    "dataPolicy": "Delete",
    "ttlSecondsAfterFinished": 60,
}


async def _made(client: Client, ns: str, status: Object) -> None:
    made = await client.create(cluster.TRAINING_JOBS, changed(JOB, {"metadata.namespace": ns}))
    if status:
        await client.patch_status(cluster.TRAINING_JOBS, ns, "t", made["metadata"]["uid"], status)


@pytest.mark.parametrize("field", RUN_CHANGES)
async def test_a_started_run_is_what_it_is(client: Client, ns: str, field: str) -> None:
    await _made(client, ns, {"attempt": 1})
    with pytest.raises(Invalid, match=rf"spec\.{field} may not change"):
        await client.patch(cluster.TRAINING_JOBS, ns, "t", {"spec": {field: RUN_CHANGES[field]}})


@pytest.mark.parametrize("field", STILL_EDITABLE)
async def test_policies_and_limits_stay_editable_in_a_run(client: Client, ns: str, field: str) -> None:
    await _made(client, ns, {"attempt": 1})
    changed_ = await client.patch(cluster.TRAINING_JOBS, ns, "t", {"spec": {field: STILL_EDITABLE[field]}})
    assert changed_["spec"][field] == STILL_EDITABLE[field]


async def test_before_its_start_a_run_may_be_corrected(client: Client, ns: str) -> None:
    await _made(client, ns, {})
    changed_ = await client.patch(cluster.TRAINING_JOBS, ns, "t", {"spec": {"kubernetes": {"nodes": 3}}})
    assert changed_["spec"]["kubernetes"]["nodes"] == 3


async def test_after_its_end_a_run_stays_unless_it_is_given_another_run_id(client: Client, ns: str) -> None:
    await _made(client, ns, {"attempt": 1, "completionTime": "2026-01-01T00:00:00Z"})
    with pytest.raises(Invalid, match="may not change"):
        await client.patch(cluster.TRAINING_JOBS, ns, "t", {"spec": {"parameters": {"learningRate": "1"}}})
    both = {"spec": {"parameters": {"learningRate": "1"}, "runID": "second"}}
    changed_ = await client.patch(cluster.TRAINING_JOBS, ns, "t", both)
    assert changed_["spec"]["parameters"] == {"learningRate": "1"}


async def test_a_dataset_keeps_the_kind_of_its_source(client: Client, ns: str) -> None:
    await client.create(cluster.DATASETS, changed(DATASET, {"metadata.namespace": ns}))
    other = {"spec": {"source": {"generated": None, "claim": {"name": "c"}}}}
    with pytest.raises(Invalid, match="which of"):
        await client.patch(cluster.DATASETS, ns, "d", other)


ACCOUNT_CHANGES = [
    ({"region": "eu-west-1"}, "`region` may not change"),
    (
        {"roleARN": "arn:aws:iam::444455556666:role/millrace", "expectedAccountID": None},
        "the account of `roleARN` may not change",
    ),
]


@pytest.mark.parametrize(("change", "message"), ACCOUNT_CHANGES)
async def test_a_cloud_account_stays_where_it_is(client: Client, ns: str, change: Object, message: str) -> None:
    await client.create(cluster.CLOUD_ACCOUNTS, changed(ACCOUNT, {"metadata.namespace": ns}))
    with pytest.raises(Invalid, match=message):
        await client.patch(cluster.CLOUD_ACCOUNTS, ns, "default", {"spec": change})


async def test_a_cloud_account_may_change_its_role_within_the_account(client: Client, ns: str) -> None:
    await client.create(cluster.CLOUD_ACCOUNTS, changed(ACCOUNT, {"metadata.namespace": ns}))
    role = "arn:aws:iam::111122223333:role/another"
    made = await client.patch(cluster.CLOUD_ACCOUNTS, ns, "default", {"spec": {"roleARN": role, "events": None, "budget": None}})
    assert made["spec"] == {"region": "us-east-1", "roleARN": role, "expectedAccountID": "111122223333", **ACCOUNT_DEFAULTS}


ACCOUNT_DEFAULTS = {"suspend": False, "deletionPolicy": "Delete"}


async def test_a_new_object_says_that_nobody_has_looked_at_it_yet(client: Client, ns: str) -> None:
    made = await client.create(cluster.TRAINING_JOBS, changed(JOB, {"metadata.namespace": ns}))
    assert made["status"] == {"observedGeneration": -1}
