"""AWS's command line and the SageMaker SDK, neither written here, through the flows of the systems that use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bedrock_support import HAIKU, LIGHT, Shop
from comprehend_support import MAIL, Desk
from local_aws_support import document, trust
from sagemaker_support import ACCOUNT, IMAGE, ROLE, Stage

from millrace_local_aws import LocalAws, local_aws

CLIENTS = os.environ.get("MILLRACE_AWS_CLIENTS", "")
PROGRAMS = Path(__file__).parent / "programs"
pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.skipif(not CLIENTS, reason="`make aws-clients` installs the clients, MILLRACE_AWS_CLIENTS names their folder"),
]


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    programs = {"*/trainer:*": "trainer.py", "aws/bedrock-*": "language.py"}
    images = {pattern: [sys.executable, str(PROGRAMS / name)] for pattern, name in programs.items()}
    with local_aws(pace=0.01, runner="processes", runner_options={"images": images}) as made:
        yield made


def environment(aws: LocalAws, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }


class CommandLine:
    """`aws`, with its answer as JSON where there is one."""

    def __init__(self, aws: LocalAws, folder: Path) -> None:
        self._environment, self._folder = environment(aws, folder), folder

    def __call__(self, *words: str, **options: Any) -> Any:
        command = [f"{CLIENTS}/aws", *words]
        for name, value in options.items():
            text = value if isinstance(value, str) else json.dumps(value)
            command += [f"--{name.replace('_', '-')}", text]
        done = subprocess.run(
            command, env=self._environment, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


@pytest.fixture
def cli(aws: LocalAws, tmp_path: Path) -> CommandLine:
    return CommandLine(aws, tmp_path)


def until(look: Any, what: str) -> Any:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"there was no {what}")


def prepare(cli: CommandLine, folder: Path) -> None:
    """Bucket, data, role."""
    (folder / "rows.csv").write_text("1,2\n2,4\n3,6\n")
    cli("s3", "mb", "s3://data")
    cli("s3", "cp", "rows.csv", "s3://data/train/rows.csv")
    cli(
        "iam",
        "create-role",
        role_name="runner",
        assume_role_policy_document=document(trust({"Service": "sagemaker.amazonaws.com"})),
    )


def test_the_command_line_tunes_a_marketplace_model_and_asks_the_result(aws: LocalAws, cli: CommandLine, tmp_path: Path) -> None:
    prepare(cli, tmp_path)
    specification = {
        "TrainingImage": IMAGE,
        "SupportedTrainingInstanceTypes": ["ml.g5.xlarge"],
        "TrainingChannels": [{"Name": "train", "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}],
    }
    arn = aws.admin.publish_algorithm({"AlgorithmName": "tune", "TrainingSpecification": specification}, "prod-1")
    aws.admin.subscribe("prod-1")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}}
    cli(
        "sagemaker",
        "create-training-job",
        training_job_name="tuned",
        algorithm_specification={"AlgorithmName": arn, "TrainingInputMode": "File"},
        role_arn=ROLE,
        hyper_parameters={"steps": "40"},
        input_data_config=[{"ChannelName": "train", "DataSource": source}],
        output_data_config={"S3OutputPath": "s3://data/out"},
        resource_config={"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        stopping_condition={"MaxRuntimeInSeconds": 3600},
    )
    sagemaker = aws.client("sagemaker")
    until(lambda: sagemaker.describe_training_job(TrainingJobName="tuned")["TrainingJobStatus"] == "Completed", "finished job")
    found = cli("sagemaker", "describe-training-job", training_job_name="tuned")
    container = {"Image": IMAGE, "ModelDataUrl": found["ModelArtifacts"]["S3ModelArtifacts"]}
    cli("sagemaker", "create-model", model_name="tuned", primary_container=container, execution_role_arn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": "tuned", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    cli("sagemaker", "create-endpoint-config", endpoint_config_name="tuned", production_variants=[variant])
    cli("sagemaker", "create-endpoint", endpoint_name="tuned", endpoint_config_name="tuned")
    until(lambda: sagemaker.describe_endpoint(EndpointName="tuned")["EndpointStatus"] == "InService", "endpoint in service")
    cli("sagemaker", "wait", "endpoint-in-service", endpoint_name="tuned")
    (tmp_path / "request.json").write_text('{"x": 10}')
    cli("sagemaker-runtime", "invoke-endpoint", "answer.json", endpoint_name="tuned", body="fileb://request.json")
    assert json.loads((tmp_path / "answer.json").read_text())["y"] == pytest.approx(20, abs=0.5)
    log = cli("logs", "filter-log-events", log_group_name="/aws/sagemaker/TrainingJobs", log_stream_name_prefix="tuned/")
    assert log["events"][-1]["message"].startswith("step=40 loss=")
    cli("s3", "cp", "s3://data/out/tuned/output/model.tar.gz", "model.tar.gz")
    assert (tmp_path / "model.tar.gz").stat().st_size > 0
    for kind in ("endpoint", "endpoint-config", "model"):
        cli("sagemaker", f"delete-{kind}", f"--{kind}-name", "tuned")
    until(lambda: cli("sagemaker", "list-endpoints")["Endpoints"] == [], "deletion")
    cli("s3", "rm", "--recursive", "s3://data")
    cli("s3", "rb", "s3://data")


def test_the_command_line_reads_the_hub_and_deploys_a_model_under_its_licence(
    aws: LocalAws, cli: CommandLine, tmp_path: Path
) -> None:
    prepare(cli, tmp_path)
    (tmp_path / "slope.json").write_text('{"slope": 3.0}')
    cli("s3", "cp", "slope.json", "s3://data/falcon/slope.json")
    card = {
        "HostingEcrUri": IMAGE,
        "HostingArtifactUri": "s3://data/falcon/",
        "GatedBucket": True,
        "HostingEulaUri": "https://example.com/l",
    }
    aws.admin.publish_model({"HubContentName": "huggingface-llm-falcon2-11b", "HubContentDocument": card})
    hub = ("--hub-name", "SageMakerPublicHub", "--hub-content-type", "Model")
    (found,) = cli("sagemaker", "list-hub-contents", *hub, "--name-contains", "falcon")["HubContentSummaries"]
    text = cli("sagemaker", "describe-hub-content", *hub, "--hub-content-name", found["HubContentName"])["HubContentDocument"]
    read = json.loads(text)
    source = {
        "S3Uri": read["HostingArtifactUri"],
        "S3DataType": "S3Prefix",
        "CompressionType": "None",
        "ModelAccessConfig": {"AcceptEula": True},
    }
    container = {"Image": read["HostingEcrUri"], "ModelDataSource": {"S3DataSource": source}}
    cli("sagemaker", "create-model", model_name="falcon", primary_container=container, execution_role_arn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": "falcon", "InstanceType": "ml.g5.12xlarge", "InitialInstanceCount": 1}
    cli("sagemaker", "create-endpoint-config", endpoint_config_name="falcon", production_variants=[variant])
    cli("sagemaker", "create-endpoint", endpoint_name="falcon", endpoint_config_name="falcon")
    sagemaker = aws.client("sagemaker")
    until(lambda: sagemaker.describe_endpoint(EndpointName="falcon")["EndpointStatus"] == "InService", "endpoint in service")
    (tmp_path / "request.json").write_text('{"x": 2}')
    cli("sagemaker-runtime", "invoke-endpoint", "answer.json", endpoint_name="falcon", body="fileb://request.json")
    assert json.loads((tmp_path / "answer.json").read_text()) == {"y": 6.0}


def test_the_command_line_trains_a_classifier_of_mails_and_asks_it(aws: LocalAws, cli: CommandLine) -> None:
    desk = Desk(aws, aws.client)
    cli(
        "comprehend",
        "create-document-classifier",
        document_classifier_name="mail",
        data_access_role_arn=desk.request()["DataAccessRoleArn"],
        language_code="en",
        input_data_config={"S3Uri": "s3://mails/train/"},
        output_data_config={"S3Uri": "s3://mails/out"},
    )
    until(lambda: desk.described()["Status"] == "TRAINED", "trained classifier")
    found = cli("comprehend", "describe-document-classifier", document_classifier_arn=MAIL)["DocumentClassifierProperties"]
    assert desk.matrix(found)["labels"] == ["nonphishing", "phishing"]
    arn = cli("comprehend", "create-endpoint", endpoint_name="door", model_arn=MAIL, desired_inference_units="2")["EndpointArn"]
    until(lambda: desk.endpoint()["Status"] == "IN_SERVICE", "endpoint in service")
    answer = cli("comprehend", "classify-document", text="urgent: verify your bank password", endpoint_arn=arn)
    assert answer["Classes"][0]["Name"] == "phishing"
    cli("comprehend", "delete-endpoint", endpoint_arn=arn)
    until(lambda: desk.comprehend.list_endpoints()["EndpointPropertiesList"] == [], "deletion")


def test_the_command_line_tunes_a_model_of_bedrock_buys_throughput_and_asks_it(
    aws: LocalAws, cli: CommandLine, tmp_path: Path
) -> None:
    shop = Shop(aws, aws.client)
    found = cli("bedrock", "list-foundation-models", by_customization_type="FINE_TUNING")["modelSummaries"]
    assert LIGHT in [one["modelId"] for one in found]
    request = shop.request(baseModelIdentifier=next(one["modelArn"] for one in found if one["modelId"] == LIGHT))
    (tmp_path / "job.json").write_text(json.dumps(request))
    arn = cli("bedrock", "create-model-customization-job", cli_input_json="file://job.json")["jobArn"]
    until(lambda: shop.job()["status"] == "Completed", "completed job")
    model = shop.job(arn)["outputModelArn"]
    made = cli(
        "bedrock",
        "create-provisioned-model-throughput",
        provisioned_model_name="live",
        model_id=model,
        model_units="1",
    )["provisionedModelArn"]
    until(lambda: shop.bought("live")["status"] == "InService", "throughput in service")
    (tmp_path / "request.json").write_text('{"prompt": "what", "max_tokens": 2}')
    cli("bedrock-runtime", "invoke-model", "answer.json", model_id=made, body="fileb://request.json")
    assert json.loads((tmp_path / "answer.json").read_text())["generations"][0]["text"] == "is number"
    told = cli("bedrock-runtime", "converse", model_id=HAIKU, messages=[{"role": "user", "content": [{"text": "a b c"}]}])
    assert told["usage"]["inputTokens"] == 3
    cli("bedrock", "delete-provisioned-model-throughput", provisioned_model_id="live")
    shop.bedrock.delete_custom_model(modelIdentifier=model)


def test_the_sagemaker_sdk_trains_deploys_and_predicts(aws: LocalAws, tmp_path: Path) -> None:
    stage = Stage(aws, aws.client)
    stage.s3.put_object(Bucket="data", Key="train/rows.csv", Body=b"1,2\n2,4\n3,6\n")
    command = [f"{CLIENTS}/python", str(PROGRAMS / "sdk.py"), IMAGE, ROLE]
    done = subprocess.run(
        command, env=environment(aws, tmp_path), capture_output=True, text=True, timeout=110, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.rpartition("RESULT ")[2])
    assert result["answer"]["y"] == pytest.approx(20, abs=0.5)
    assert result["model"] == f"s3://data/sdk/{result['job']}/output/model.tar.gz"
    assert "step=40 loss=" in done.stdout, "the job's log is shown"
    assert stage.sm.list_models()["Models"] == []
