"""`millrace hub` on a local AWS: which models there are, and what a card says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from millrace.aws import hub_search
from millrace.cli.main import app
from millrace_local_aws import seed
from support.aws import ACCOUNT

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws


@pytest.fixture(autouse=True)
def _seeded(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    seed.seed(aws.endpoint_url, ACCOUNT)
    document = {"Task": "llm", "GatedBucket": True, "HostingEulaUri": "s3://jumpstart/eula.txt", "TrainingSupported": True}
    content = {"HubContentName": "meta-llm-gated", "HubContentVersion": "2.0.0", "HubContentDocument": document}
    aws.admin.publish_model(content)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.mark.proves("08.1")
def test_a_word_lists_models_with_what_decides_whether_one_wants_them() -> None:
    told = CliRunner().invoke(app, ["hub", "falcon", "-o", "yaml"])
    assert told.exit_code == 0, told.output
    (card,) = yaml.safe_load_all(told.stdout)
    assert (card["modelID"], card["version"]) == ("huggingface-llm-falcon2-11b", "1.2.8")
    assert (card["licence"], card["acceptEULA"], card["task"]) == ("TII Falcon License 2.0", "not needed", "llm")
    assert card["instanceTypes"] == ["ml.g5.12xlarge", "ml.g5.24xlarge", "ml.g5.48xlarge", "ml.p4d.24xlarge"]
    assert "5.5 trillion tokens" in card["data"]
    assert "usage" in card


def test_a_table_tells_whose_licence_must_be_accepted() -> None:
    lines = CliRunner().invoke(app, ["hub", "llm"]).stdout.splitlines()
    assert lines[0].split() == ["MODEL", "VERSION", "TASK", "LICENCE", "EULA", "DEFAULT", "TYPE", "TUNABLE"]
    (gated,) = [line for line in lines if line.startswith("meta-llm-gated")]
    assert gated.split() == ["meta-llm-gated", "2.0.0", "llm", "s3://jumpstart/eula.txt", "required", "yes"]


def test_many_models_come_page_by_page_and_no_more_than_asked_for(aws: LocalAws) -> None:
    for number in range(7):
        content = {"HubContentName": f"small-{number}", "HubContentVersion": "1.0.0", "HubContentDocument": {"Task": "llm"}}
        aws.admin.publish_model(content)
    search = hub_search.Search("us-east-1", aws.endpoint_url)
    assert len({card["modelID"] for card in search.models("small", 5)}) == 5
    assert len({card["modelID"] for card in search.models("small", 100)}) == 7


def test_no_model_is_an_error_that_says_what_to_try() -> None:
    told = CliRunner().invoke(app, ["hub", "no-such-model"])
    assert told.exit_code != 0
    assert "no model whose id contains 'no-such-model'" in str(told.exception)
