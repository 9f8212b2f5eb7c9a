"""What `seed` gives an account: enough to serve a hub model from its card, to tune a product of the Marketplace, and to be somebody in a
pod; and a second time changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from bedrock_support import LIGHT, lines, rows
from local_aws_support import allow, document, refused

from millrace_local_aws import LocalAws
from millrace_local_aws.__main__ import main
from millrace_local_aws.seed import seed
from support.tokens import unsigned

ACCOUNT = "111122223333"
TUNER = "arn:aws:sagemaker:us-east-1:999999999999:algorithm/film-tuner"
FALCON = {"HubName": "SageMakerPublicHub", "HubContentType": "Model", "HubContentName": "huggingface-llm-falcon2-11b"}


def test_a_seeded_account_can_deploy_the_hubs_models(aws: LocalAws) -> None:
    assert main(["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT]) == 0
    sagemaker = aws.client("sagemaker", account=ACCOUNT)
    card = json.loads(sagemaker.describe_hub_content(**FALCON)["HubContentDocument"])
    assert card["DefaultInferenceInstanceType"] in card["SupportedInferenceInstanceTypes"]
    data = {"S3Uri": card["HostingArtifactUri"], "S3DataType": "S3Prefix", "CompressionType": "None"}
    sagemaker.create_model(
        ModelName="falcon",
        ExecutionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/sagemaker-serving",
        PrimaryContainer={"Image": card["HostingEcrUri"], "ModelDataSource": {"S3DataSource": data}},
    )
    assert [one["ModelName"] for one in sagemaker.list_models()["Models"]] == ["falcon"]


def test_a_seeded_account_has_subscribed_to_an_algorithm_whose_container_serves_too(aws: LocalAws) -> None:
    main(["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT])
    sagemaker = aws.client("sagemaker", account=ACCOUNT)
    source = {"AlgorithmName": TUNER, "ModelDataUrl": "s3://data/model.tar.gz"}
    sagemaker.create_model_package(ModelPackageName="tuned", SourceAlgorithmSpecification={"SourceAlgorithms": [source]})
    container = sagemaker.describe_model_package(ModelPackageName="tuned")["InferenceSpecification"]["Containers"][0]
    assert container["Image"].endswith("/film-tuner:1")
    assert container["ModelDataUrl"] == "s3://data/model.tar.gz"


def test_a_seeded_account_has_roles_for_a_classifier_and_for_a_customization_job(aws: LocalAws) -> None:
    main(["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT])
    s3, roles = aws.client("s3", account=ACCOUNT), f"arn:aws:iam::{ACCOUNT}:role"
    s3.create_bucket(Bucket="team")
    s3.put_object(Bucket="team", Key="train.jsonl", Body=lines(rows(40)))
    job = {"roleArn": f"{roles}/BedrockCM-data", "trainingDataConfig": {"s3Uri": "s3://team/train.jsonl"}}
    request = {"jobName": "one", "customModelName": "one", "outputDataConfig": {"s3Uri": "s3://team/out/"}, **job}
    made = aws.client("bedrock", account=ACCOUNT).create_model_customization_job(baseModelIdentifier=LIGHT, **request)
    assert f":{ACCOUNT}:model-customization-job/" in made["jobArn"]
    classifier = aws.client("comprehend", account=ACCOUNT).create_document_classifier(
        DocumentClassifierName="mail",
        LanguageCode="en",
        DataAccessRoleArn=f"{roles}/comprehend-data",
        InputDataConfig={"S3Uri": "s3://team/mails.csv"},
    )
    assert classifier["DocumentClassifierArn"].endswith(":document-classifier/mail")


def test_pods_of_the_cluster_that_it_runs_in_may_be_somebody(aws: LocalAws, tmp_path: Path) -> None:
    def token(**claims: object) -> str:
        return unsigned(iss="https://cluster.test", exp=4e9, sub="system:serviceaccount:team:default", **claims)

    own = tmp_path / "token"
    own.write_text(token(aud=["https://cluster.test"]))
    for _ in range(2):
        seed(aws.endpoint_url, ACCOUNT, token=own)
    sts, asked = aws.client("sts", account=ACCOUNT), {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/millrace-pods"}
    told = sts.assume_role_with_web_identity(**asked, RoleSessionName="pod", WebIdentityToken=token(aud=["sts.amazonaws.com"]))
    assert told["SubjectFromWebIdentityToken"] == "system:serviceaccount:team:default"
    with refused("InvalidIdentityToken"):
        sts.assume_role_with_web_identity(**asked, RoleSessionName="pod", WebIdentityToken=own.read_text())


def test_what_is_there_stays_as_it_is(aws: LocalAws) -> None:
    arguments = ["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT]
    main(arguments)
    iam, sagemaker = aws.client("iam", account=ACCOUNT), aws.client("sagemaker", account=ACCOUNT)
    iam.put_role_policy(RoleName="sagemaker-serving", PolicyName="mine", PolicyDocument=document(allow("s3:*")))
    iam.delete_role_policy(RoleName="sagemaker-serving", PolicyName="data")
    before = sagemaker.describe_hub_content(**FALCON)["CreationTime"]
    aws.admin.step(3600)
    main(arguments)
    assert iam.list_role_policies(RoleName="sagemaker-serving")["PolicyNames"] == ["mine"], (
        "a role that was changed is not changed back"
    )
    assert sagemaker.describe_hub_content(**FALCON)["CreationTime"] == before


def test_an_account_that_was_not_seeded_has_no_such_role(aws: LocalAws) -> None:
    main(["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT])
    with refused("NoSuchEntity"):
        aws.client("iam", account="444455556666").get_role(RoleName="sagemaker-serving")
