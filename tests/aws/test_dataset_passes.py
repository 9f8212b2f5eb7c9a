"""A Dataset in S3, from its first pass to its deletion: the real worker runs with what its pod is given, and nothing else."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from millrace.aws import permissions
from millrace_controllers.dataset.backends.permissions import FEATURES
from millrace_dataset import s3
from millrace_dataset.__main__ import answer
from millrace_local_aws import LocalAws
from support.aws import ACCOUNT, a_cloud, allowing, cloud_account, make_role
from support.builders import merged
from support.datasets import World
from support.tokens import unsigned

Object = dict[str, Any]
ISSUER = "oidc.cluster.test"
POD_ROLE = f"arn:aws:iam::{ACCOUNT}:role/pods"
ROWS = "id,label\n" + "".join(f"{n},{'yes' if n % 2 else 'no'}\n" for n in range(40))
SPEC: Object = {
    "source": {"claim": None, "s3": {"uri": "s3://data/raw"}},
    "format": "csv",
    "split": {"train": "0.8", "validation": "0.2"},
    "quality": {},
    "publish": {"claim": None, "s3": {"uri": "s3://data/clean"}},
}


class Pods(World):
    """Worker pods run in this process, with the variables of their manifest and their token in a file."""

    def __init__(self, aws: LocalAws, patch: pytest.MonkeyPatch, folder: Path, **given: Any) -> None:
        super().__init__(**given)
        self.aws, self.patch, self.folder = aws, patch, folder
        account = cloud_account(
            namespace="team-a", roleARN=f"arn:aws:iam::{ACCOUNT}:role/millrace", podRoleARN=POD_ROLE, endpointURL=aws.endpoint_url
        )
        self.cache.put("cloudaccounts", {**account, "metadata": {**account["metadata"], "resourceVersion": "1"}})

    def work(self, uid: str | None = None) -> Object:
        """The worker's answer."""
        given = self.order()
        token = self.folder / "token"
        token.write_text(pod_token())
        with self.patch.context() as patch:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MILLRACE_PROGRESS_URL"):
                patch.delenv(name, raising=False)
            for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"):
                patch.setenv(name, given[name])
            patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
            patch.setattr("tempfile.tempdir", str(self.folder))
            order = json.loads(given["MILLRACE_DATASET"])
            return answer(json.dumps(order | ({"uid": uid} if uid else {})))

    async def published(self) -> Object:
        await self.once()
        self.ends("worker", self.work())
        await self.once()
        return self.told


def pod_token() -> str:
    """As the cluster signs it for a pod of this namespace's default ServiceAccount."""
    who = "system:serviceaccount:team-a:default"
    return unsigned(iss=f"https://{ISSUER}", sub=who, aud=["sts.amazonaws.com"], exp=time.time() + 600)


def grant(aws: LocalAws, *actions: str) -> None:
    """What the role of pods may."""
    iam = aws.client("iam", account=ACCOUNT)
    iam.put_role_policy(RoleName="pods", PolicyName="allowed", PolicyDocument=allowing(*actions))


@pytest.fixture(autouse=True)
def _staged(aws: LocalAws) -> None:
    make_role(aws, external_id="0d9c2f1e-cluster/team-a", actions=())
    iam = aws.client("iam", account=ACCOUNT)
    document = permissions.policy(FEATURES, {"BUCKET": "data"})
    iam.put_role_policy(RoleName="millrace", PolicyName="as-docs-iam-says", PolicyDocument=json.dumps(document))
    provider = iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider["OpenIDConnectProviderArn"]},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{ISSUER}:sub": "system:serviceaccount:team-a:default"}},
    }
    iam.create_role(RoleName="pods", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    grant(aws, "s3:ListBucket", "s3:GetObject", "s3:PutObject")
    aws.client("s3", account=ACCOUNT).create_bucket(Bucket="data")
    put(aws, "raw/a.csv", ROWS)


def put(aws: LocalAws, key: str, body: str) -> None:
    aws.client("s3", account=ACCOUNT).put_object(Bucket="data", Key=key, Body=body.encode())


def keys(aws: LocalAws, prefix: str = "clean/") -> list[str]:
    found = aws.client("s3", account=ACCOUNT).list_objects_v2(Bucket="data", Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


@contextlib.asynccontextmanager
async def a_world(aws: LocalAws, patch: pytest.MonkeyPatch, folder: Path, **change: Any) -> AsyncIterator[Pods]:
    async with a_cloud(aws, custom_endpoints=True) as cloud:
        yield Pods(aws, patch, folder, cloud=cloud, **merged(SPEC, change))


async def test_it_is_ready_when_s3_has_what_the_worker_told(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        told = await world.published()
        assert world.ready == ("True", "Published")
        assert (told["rows"], [s["name"] for s in told["splits"]]) == (40, ["train", "validation"])
        folder = f"s3://data/clean/{told['version']}"
        assert [s["uri"] for s in told["splits"]] == [f"{folder}/train.csv", f"{folder}/validation.csv"]
        assert told["report"]["html"].startswith("s3://data/clean/reports/")
        assert all("claim" not in place for place in (*told["splits"], told["report"], *told["published"]))
        assert world.jobs("verify") == [], "nobody mounts a claim to read it back"
        await world.once()
        assert world.jobs("worker") == []
        assert world.ready == ("True", "Published")


@pytest.mark.proves("15.5")
async def test_rows_that_another_dataset_in_s3_has_too_are_told(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as train:
        await train.published()
        put(aws, "raw-evaluation/e.csv", "id,label\n1,yes\n2,no\n1000,no\n")
        change = {
            "source": {"s3": {"uri": "s3://data/raw-evaluation"}},
            "split": None,
            "quality": {"compareWith": [{"name": "train"}]},
        }
        evaluation = Pods(aws, monkeypatch, tmp_path, cloud=train.cloud, **merged(SPEC, change))
        there = merged(train.object, {"metadata": {"name": "train", "resourceVersion": "1"}})
        evaluation.cache.put("datasets", there)
        told = await evaluation.published()
        assert evaluation.ready == ("True", "Published")
        assert told["quality"]["shared"] == [{"dataset": "train", "digest": train.told["digest"], "rows": 2}]
        warned = next(c for c in told["conditions"] if c["type"] == "QualityWarning")
        assert warned["message"] == "High severity: SharedRows with 'train' 0.6667"


def classifier(classes: list[str]) -> Object:
    """A layout of the rows that are there: their numbers are the texts."""
    transform = {"rename": {"id": "text"}, "sample": {"rows": 36, "seed": 42}}
    return {"transform": transform, "layout": {"comprehend": {"classes": classes}}, "split": None}


async def test_a_layout_is_read_back_as_it_is_published(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with a_world(aws, monkeypatch, tmp_path, **classifier(["yes", "no"])) as world:
        told = await world.published()
        assert world.ready == ("True", "Published")
        (part,) = told["splits"]
        body = aws.client("s3", account=ACCOUNT).get_object(Bucket="data", Key=part["uri"].removeprefix("s3://data/"))["Body"]
        lines = body.read().decode().splitlines()
        assert (len(lines), {line.partition(",")[0] for line in lines}) == (36, {"yes", "no"})
        assert (told["layout"]["name"], told["layout"]["belowRecommended"]) == ("ComprehendCSV", 2)
        warned = next(c for c in told["conditions"] if c["type"] == "ExamplesWarning")
        assert warned["message"].startswith("200 documents of each label are recommended: ")


@pytest.mark.parametrize(
    ("classes", "reason"), [(["yes", "no", "perhaps"], "TooFewDocuments"), (["yes", "perhaps"], "UnknownLabel")]
)
async def test_what_a_layout_refuses_leaves_nothing_in_s3(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, classes: list[str], reason: str
) -> None:
    async with a_world(aws, monkeypatch, tmp_path, **classifier(classes)) as world:
        await world.published()
        assert (world.ready, keys(aws)) == (("False", reason), [])


@pytest.mark.parametrize("harm", ["gone", "another"])
async def test_an_object_that_is_not_what_the_worker_told_is_never_ready(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, harm: str
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        await world.once()
        said = world.work()
        key = said["splits"]["train"]["uri"].removeprefix("s3://data/")
        if harm == "gone":
            aws.client("s3", account=ACCOUNT).delete_object(Bucket="data", Key=key)
        else:
            put(aws, key, "id,label\n")
        world.ends("worker", said)
        await world.once()
        assert world.ready == ("False", "NotReadBack")
        assert "digest" not in world.told


async def test_a_changed_source_is_a_new_digest_and_an_event(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        first = await world.published()
        made = await world.once()
        assert made.requeue_after == 300, "S3 tells nobody here of changes"
        put(aws, "raw/b.csv", ROWS)
        put(aws, "raw/.hidden/c.csv", ROWS)
        second = await world.published()
        assert [e.reason for e in world.events] == ["Published", "DigestChanged"]
        assert (second["rows"], first["digest"] != second["digest"]) == (80, True)


async def test_a_pod_that_is_denied_says_so_and_tries_again_once_it_may(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        grant(aws, "s3:ListBucket", "s3:GetObject")
        await world.once()
        world.ends("worker", world.work())
        made = await world.once()
        assert world.ready == ("False", "PermissionDenied")
        assert "assumed-role/pods/millrace-team-a-corpus is not authorized to perform: s3:PutObject" in made.conditions[0].message
        assert made.requeue_after == 300
        grant(aws, "s3:ListBucket", "s3:GetObject", "s3:PutObject")
        await world.once()
        assert world.ready == ("False", "PermissionDenied"), "it has not rested long enough"
        world.clock.advance(300)
        await world.once()
        assert world.jobs("worker") == []
        world.without_pods()
        await world.published()
        assert world.ready == ("True", "Published")


async def test_no_source_is_waited_for(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = {"s3": {"uri": "s3://data/later"}}
    async with a_world(aws, monkeypatch, tmp_path, source=source) as world:
        await world.once()
        assert world.ready == ("False", "SourceNotFound")
        put(aws, "later/a.csv", ROWS)
        await world.published()
        assert world.ready == ("True", "Published")


async def test_what_is_published_stays_so_when_its_source_goes(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        before = await world.published()
        aws.client("s3", account=ACCOUNT).delete_object(Bucket="data", Key="raw/a.csv")
        await world.once()
        assert world.ready == ("True", "Published"), "whoever reads the version needs no source"
        assert {c["type"]: c["reason"] for c in world.told["conditions"]}["Reconciling"] == "SourceNotFound"
        assert world.told["splits"] == before["splits"]


async def test_what_is_suspended_stops_though_its_source_is_gone(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        await world.once()
        aws.client("s3", account=ACCOUNT).delete_object(Bucket="data", Key="raw/a.csv")
        world.change(suspend=True)
        await world.once()
        await world.once()
        assert world.ready == ("False", "Suspended")
        assert world.jobs("worker") == []


async def test_what_a_worker_put_and_no_status_told_of_goes_too(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with a_world(aws, monkeypatch, tmp_path, dataPolicy="Delete") as world:
        await world.once()
        world.work()
        assert keys(aws), "and then the object is deleted"
        for _ in range(2):
            made = await world.once(finalize=True)
        assert made.released
        assert keys(aws) == []


async def test_an_outage_of_s3_is_tried_again_by_itself(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with a_world(aws, monkeypatch, tmp_path) as world:
        await world.once()
        monkeypatch.setattr(s3, "_ATTEMPTS", 1)
        aws.admin.add_fault("error", service="s3", operation="PutObject", code="SlowDown", status=503, times=1)
        world.ends("worker", world.work())
        made = await world.once()
        assert world.ready == ("False", "S3Unavailable")
        assert made.requeue_after == 300
        world.clock.advance(300)
        await world.once()
        world.without_pods()
        await world.published()
        assert world.ready == ("True", "Published")


async def test_what_nobody_else_uses_goes_with_it(aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with a_world(aws, monkeypatch, tmp_path, dataPolicy="Delete", quality=None) as world:
        await world.once()
        other = world.work(uid="another-object")
        world.ends("worker", world.work())
        await world.once()
        version = world.told["version"]
        assert other["version"] == version
        await world.once()
        world.without_pods()
        made = await world.once(finalize=True)
        assert made.released
        assert f"clean/{version}/.owners/another-object" in keys(aws)
        assert f"clean/{version}/train.csv" in keys(aws), "another object uses it"
        aws.client("s3", account=ACCOUNT).delete_object(Bucket="data", Key=f"clean/{version}/.owners/another-object")
        await world.once(finalize=True)
        assert keys(aws) == []
        assert keys(aws, "raw/") == ["raw/a.csv"], "a source is nobody's to delete"
