"""Bedrock's data plane: each family's own bodies, Converse, streams, tokens that are counted, and quotas that throttle."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bedrock_support import HAIKU, LIGHT, LLAMA, Shop, eventually, lines
from botocore.exceptions import EventStreamError
from local_aws_support import refused

from millrace_local_aws import LocalAws, local_aws

PROGRAM = Path(__file__).parent / "programs/language.py"
COMMAND, TITAN, LLAMA_3, NOVA = (
    "cohere.command-light-text-v14",
    "amazon.titan-text-express-v1",
    "meta.llama3-8b-instruct-v1:0",
    "amazon.nova-lite-v1:0",
)
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "one two three"}]}
TURNS = [{"role": "user", "content": [{"text": "one two three"}]}]


@pytest.fixture
def shop(aws: LocalAws, client: Callable[..., Any]) -> Shop:
    return Shop(aws, client)


# Whole answers


TOLD: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cohere": (
        COMMAND,
        {"prompt": "a", "max_tokens": 50},
        {"generations": [{"finish_reason": "MAX_TOKENS", "text": "it is so"}], "prompt": "a"},
    ),
    "titan": (
        TITAN,
        {"inputText": "a"},
        {"inputTextTokenCount": 7, "results": [{"tokenCount": 3, "outputText": "it is so", "completionReason": "LENGTH"}]},
    ),
    "llama": (
        LLAMA_3,
        {"prompt": "a"},
        {"generation": "it is so", "prompt_token_count": 7, "generation_token_count": 3, "stop_reason": "length"},
    ),
    "claude": (
        HAIKU,
        CLAUDE,
        {
            "type": "message",
            "role": "assistant",
            "model": "claude-3-haiku-20240307",
            "content": [{"type": "text", "text": "it is so"}],
            "stop_reason": "max_tokens",
            "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": 3},
        },
    ),
    "nova": (
        NOVA,
        {"messages": TURNS},
        {
            "output": {"message": {"content": [{"text": "it is so"}], "role": "assistant"}},
            "stopReason": "max_tokens",
            "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
        },
    ),
}


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_ids(item) for name, item in value.items() if name != "id"}
    return [without_ids(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("model", "body", "told"), TOLD.values(), ids=TOLD)
def test_each_family_has_bodies_of_its_own(shop: Shop, model: str, body: dict[str, Any], told: dict[str, Any]) -> None:
    shop.says(model, "it is so", finish="length")
    answer = shop.runtime.invoke_model(modelId=model, body=json.dumps(body))
    assert without_ids(json.load(answer["body"])) == told
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amzn-bedrock-input-token-count"], headers["x-amzn-bedrock-output-token-count"]) == ("7", "3")


@pytest.mark.parametrize(
    ("model", "body", "says"),
    [
        (COMMAND, {"prompt": "a", "max_gen_len": 5}, "extraneous key [max_gen_len] is not permitted"),
        (COMMAND, {"max_tokens": 5}, "required key [prompt] not found"),
        (COMMAND, {"prompt": "a", "max_tokens": 5000}, "between 1 and 4096"),
        (TITAN, {"inputText": "a", "textGenerationConfig": {"temperature": 2}}, "temperature: 2 is not a number from 0 to 1"),
        (HAIKU, CLAUDE | {"anthropic_version": "2023"}, "anthropic_version"),
        (HAIKU, CLAUDE | {"messages": [{"role": "assistant", "content": "a"}]}, "must start with a user message"),
        (HAIKU, CLAUDE | {"messages": [{"role": "user", "content": "a"}] * 2}, "must alternate between user and assistant"),
    ],
    ids=["another family's", "no prompt", "too many tokens", "range", "version", "assistant first", "two in a row"],
)
def test_a_body_that_the_family_does_not_have_is_refused(shop: Shop, model: str, body: dict[str, Any], says: str) -> None:
    with refused("ValidationException") as caught:
        shop.invoke(model, **body)
    assert says in caught.message


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("nobody.nothing-v1", "ValidationException", "The provided model identifier is invalid."),
        (LIGHT, "ValidationException", "with on-demand throughput isn’t supported"),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefabcdef", "ResourceNotFoundException", "Could not find"),
    ],
    ids=["unknown", "only provisioned", "nothing bought"],
)
def test_a_model_that_cannot_be_asked_is_refused(shop: Shop, model: str, code: str, says: str) -> None:
    with refused(code) as caught:
        shop.invoke(model, prompt="a")
    assert says in caught.message


def test_converse_speaks_with_every_family_alike(shop: Shop) -> None:
    for model in (COMMAND, TITAN, LLAMA_3, HAIKU, NOVA):
        shop.says(model, "it is so")
        found = shop.runtime.converse(modelId=model, messages=TURNS, system=[{"text": "be short"}])
        assert found["output"]["message"] == {"role": "assistant", "content": [{"text": "it is so"}]}
        assert (found["stopReason"], found["usage"]) == ("end_turn", {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10})
    by_profile = shop.runtime.converse(modelId=f"us.{HAIKU}", messages=TURNS)
    assert by_profile["usage"]["totalTokens"] == 10
    with refused("ValidationException"):
        shop.runtime.converse(modelId=HAIKU, messages=TURNS, inferenceConfig={"maxTokens": 5000})


def test_nothing_answers_where_no_container_runs(shop: Shop) -> None:
    with refused("ModelErrorException") as caught:
        shop.runtime.converse(modelId=HAIKU, messages=TURNS)
    assert "script an answer" in caught.message


def test_tokens_are_counted_for_both_forms_of_input(shop: Shop) -> None:
    shop.says(HAIKU, "x", read=11)
    for given in ({"converse": {"messages": TURNS}}, {"invokeModel": {"body": json.dumps(CLAUDE)}}):
        assert shop.runtime.count_tokens(modelId=HAIKU, input=given)["inputTokens"] == 11


# Quotas


def limit(shop: Shop, requests: float, tokens: float) -> None:
    shop.aws.admin.set_model_limits(HAIKU, requests, tokens)


def ask(shop: Shop, most: int) -> None:
    shop.runtime.converse(modelId=HAIKU, messages=TURNS, inferenceConfig={"maxTokens": most})


def test_requests_beyond_the_quota_are_throttled_until_time_has_passed(shop: Shop) -> None:
    shop.says(HAIKU, "x")
    limit(shop, requests=2, tokens=1e9)
    ask(shop, 1)
    ask(shop, 1)
    with refused("ThrottlingException") as caught:
        ask(shop, 1)
    assert (caught.message, caught.status) == ("Too many requests, please wait before trying again.", 429)
    shop.aws.admin.step(31)
    ask(shop, 1)


def test_what_may_be_written_counts_until_the_answer_has_ended(shop: Shop) -> None:
    """A thousand tokens a minute: 950 may be asked for again and again where few are written; more than there are never."""
    shop.says(HAIKU, "x", read=5, written=5)
    limit(shop, requests=1e6, tokens=1000)
    for _ in range(5):
        ask(shop, 950)
        shop.aws.admin.step(1)
    with refused("ThrottlingException") as caught:
        ask(shop, 1001)
    assert caught.message == "Too many tokens, please wait before trying again."
    shop.says(HAIKU, "x", read=100, written=800)
    ask(shop, 950)
    with refused("ThrottlingException"):
        ask(shop, 950)
    shop.aws.admin.step(60)
    ask(shop, 950)


def test_quotas_are_an_accounts_own_and_what_was_bought_has_none(shop: Shop) -> None:
    shop.says(HAIKU, "x")
    limit(shop, requests=1, tokens=1e9)
    ask(shop, 1)
    other = shop.aws.client("bedrock-runtime", account="444455556666")
    other.converse(modelId=HAIKU, messages=TURNS)
    shop.buy(LIGHT)
    shop.says("cm_one-provisioned", "x")
    for _ in range(3):
        shop.invoke("cm_one-provisioned", prompt="a")


# What was tuned


def test_a_custom_model_answers_through_what_was_bought_or_deployed_for_it(shop: Shop) -> None:
    model = shop.tuned(baseModelIdentifier=LLAMA, hyperParameters={})
    arn = shop.bedrock.create_provisioned_model_throughput(provisionedModelName="live", modelId=model, modelUnits=1)
    arn = arn["provisionedModelArn"]
    with refused("ModelNotReadyException"):
        shop.invoke(arn, prompt="a")
    shop.aws.admin.step(400)
    shop.says("live", "it is so", chat=False)
    assert shop.invoke(arn, prompt="a")["generation"] == "it is so"
    assert shop.runtime.converse(modelId=arn, messages=TURNS)["stopReason"] == "end_turn"
    shop.bedrock.create_custom_model_deployment(modelDeploymentName="door", modelArn=model)
    shop.aws.admin.step(400)
    shop.says("door", "so it is", chat=False)
    assert shop.invoke("door", prompt="a")["generation"] == "so it is"


# With a container


@pytest.fixture
def running() -> Iterator[Shop]:
    """States pass a thousand times as fast as AWS's; the containers are programs."""
    images = {"aws/bedrock-*": [sys.executable, str(PROGRAM)]}
    with local_aws(pace=0.001, runner="processes", runner_options={"images": images}) as made:
        yield Shop(made, made.client)


def test_a_model_learns_from_the_data_and_what_is_bought_for_it_answers_with_what_it_learnt(running: Shop) -> None:
    running.put("validation.jsonl", lines([{"prompt": "what is", "completion": "number 3"}]))
    running.create(validationDataConfig={"validators": [{"s3Uri": "s3://model-training/validation.jsonl"}]})
    found = eventually(lambda: found if (found := running.job())["status"] != "InProgress" else None, "end of the job")
    assert found["status"] == "Completed", found.get("failureMessage")
    trained = running.table("training_artifacts/step_wise_training_metrics.csv", "training_loss")
    assert [step for step, *_ in trained] == list(range(10)), "two epochs of 40 rows by 8"
    assert trained[0][2] > trained[-1][2] == pytest.approx(found["trainingMetrics"]["trainingLoss"])
    assert found["validationMetrics"][0]["validationLoss"] > 0
    made = running.bedrock.create_provisioned_model_throughput(provisionedModelName="live", modelId="cm_one", modelUnits=1)
    eventually(lambda: running.bought("live")["status"] == "InService", "throughput in service")
    answer = running.invoke(made["provisionedModelArn"], prompt="what", max_tokens=2)
    assert answer["generations"][0]["text"] == "is number"
    answer = running.invoke(made["provisionedModelArn"], prompt="word " * 100 + "what", max_tokens=2)
    assert answer["generations"][0]["text"] == "is number", "a long prompt is read at its end"
    running.bedrock.delete_provisioned_model_throughput(provisionedModelId="live")


def test_a_model_that_was_pre_trained_further_goes_on_with_plain_text(running: Shop) -> None:
    text = "the river runs past the mill and the mill stands still"
    running.put("training_data_v1/train.jsonl", lines([{"input": text}] * 5))
    running.create(baseModelIdentifier=f"{TITAN}:0:8k", customizationType="CONTINUED_PRE_TRAINING", hyperParameters={})
    eventually(lambda: running.job()["status"] == "Completed", "completed job")
    running.bedrock.create_provisioned_model_throughput(provisionedModelName="live", modelId="cm_one", modelUnits=1)
    eventually(lambda: running.bought("live")["status"] == "InService", "throughput in service")
    told = running.invoke("live", inputText="the mill and", textGenerationConfig={"maxTokenCount": 2})
    assert told["inputTextTokenCount"] == 3
    assert told["results"][0]["outputText"] == "the mill"


def test_an_answer_comes_as_a_stream_in_each_form(running: Shop) -> None:
    stream = running.runtime.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(CLAUDE | {"max_tokens": 2}))["body"]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == "two three "
    assert events[-1]["amazon-bedrock-invocationMetrics"] == {"inputTokenCount": 3, "outputTokenCount": 2}
    for model, body, text in (
        (COMMAND, {"prompt": "one two", "max_tokens": 50}, lambda event: event.get("text", "")),
        (TITAN, {"inputText": "one two"}, lambda event: event["outputText"]),
        (LLAMA_3, {"prompt": "one two"}, lambda event: event["generation"]),
    ):
        stream = running.runtime.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))["body"]
        events = [json.loads(event["chunk"]["bytes"]) for event in stream]
        assert "".join(map(text, events)) == "one two "
        assert events[-1]["amazon-bedrock-invocationMetrics"]["inputTokenCount"] == 2
    talk = list(running.runtime.converse_stream(modelId=NOVA, messages=TURNS, inferenceConfig={"maxTokens": 2})["stream"])
    assert [next(iter(event)) for event in talk] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert talk[-2]["messageStop"]["stopReason"] == "max_tokens"
    assert talk[-1]["metadata"]["usage"] == {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}


def test_an_answer_longer_than_the_small_models_context_is_asked_for_shorter_and_a_prompt_that_is_too_long_refused(
    running: Shop,
) -> None:
    found = running.runtime.converse(modelId=HAIKU, messages=TURNS, inferenceConfig={"maxTokens": 4000})
    assert found["output"]["message"]["content"][0]["text"] == "one two three"
    with refused("ValidationException") as caught:
        running.runtime.converse(modelId=HAIKU, messages=[{"role": "user", "content": [{"text": "word " * 100}]}])
    assert caught.message == "Input is too long for requested model."


def test_a_stream_that_breaks_says_so_in_the_stream(shop: Shop) -> None:
    event = json.dumps({"error": {"message": "the engine stands still"}})
    shop.aws.admin.plan("endpoint", "script", f"*:{HAIKU}", answer={"body": f"data: {event}\n\n", "type": "text/event-stream"})
    stream = shop.runtime.converse_stream(modelId=HAIKU, messages=TURNS)["stream"]
    with contextlib.closing(stream), pytest.raises(EventStreamError, match="the engine stands still"):
        list(stream)
