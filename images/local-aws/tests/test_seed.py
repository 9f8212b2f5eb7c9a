"""What `seed` gives an account: enough to serve a hub model from its card; and a second time changes nothing."""

from __future__ import annotations

import json

from local_aws_support import refused

from millrace_local_aws import LocalAws
from millrace_local_aws.__main__ import main

ACCOUNT = "111122223333"
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


def test_what_is_there_stays_as_it_is(aws: LocalAws) -> None:
    arguments = ["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT]
    main(arguments)
    iam, sagemaker = aws.client("iam", account=ACCOUNT), aws.client("sagemaker", account=ACCOUNT)
    iam.delete_role_policy(RoleName="sagemaker-serving", PolicyName="reads-models")
    before = sagemaker.describe_hub_content(**FALCON)["CreationTime"]
    aws.admin.step(3600)
    main(arguments)
    assert iam.list_role_policies(RoleName="sagemaker-serving")["PolicyNames"] == [], (
        "a role that was changed is not changed back"
    )
    assert sagemaker.describe_hub_content(**FALCON)["CreationTime"] == before


def test_an_account_that_was_not_seeded_has_no_such_role(aws: LocalAws) -> None:
    main(["seed", "--endpoint-url", aws.endpoint_url, "--account", ACCOUNT])
    with refused("NoSuchEntity"):
        aws.client("iam", account="444455556666").get_role(RoleName="sagemaker-serving")
