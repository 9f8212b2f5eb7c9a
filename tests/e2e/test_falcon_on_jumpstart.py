"""System 08 on the real cluster: the operator takes a local AWS for AWS, and a real container answers behind its endpoint."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from millrace.kube.client import Client
from millrace.kube.resources import SERVICES
from support import cloud, cluster, examples
from support.cloud import Aws
from support.cluster import CLOUD_ACCOUNTS, MODEL_ENDPOINTS, gone, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Object = dict[str, Any]
FOLDER = "examples/08-falcon2-jumpstart"
REQUESTS: dict[str, Object] = {
    path.stem: json.loads(path.read_text()) for path in sorted((examples.ROOT / FOLDER / "requests").glob("*.json"))
}


@dataclass(frozen=True)
class Hosted:
    """The endpoint as SageMaker's clients ask it."""

    runtime: Any
    name: str

    async def ask(self, request: Object) -> str:
        """The one text that is generated. Raises ClientError."""
        called = asyncio.to_thread(self.runtime.invoke_endpoint, EndpointName=self.name, **_sent(request))
        return text_of(json.loads((await called)["Body"].read()))

    def streamed(self, request: Object) -> list[Object]:
        """Events of an answer that comes in pieces."""
        called = self.runtime.invoke_endpoint_with_response_stream(EndpointName=self.name, **_sent({**request, "stream": True}))
        told = b"".join(event["PayloadPart"]["Bytes"] for event in called["Body"]).decode()
        return [json.loads(line.removeprefix("data:")) for line in told.splitlines() if line]


def _sent(request: Object) -> dict[str, Any]:
    return {"Body": json.dumps(request), "ContentType": "application/json"}


def text_of(answer: Any) -> str:
    """Of an answer in the documented shape: a list of one object with the text and nothing else."""
    assert [list(one) for one in answer] == [["generated_text"]], answer
    assert isinstance(answer[0]["generated_text"], str)
    return str(answer[0]["generated_text"])


def changed(name: str, **parameters: Any) -> Object:
    """A documented request with some parameters of one's own."""
    return {**REQUESTS[name], "parameters": {**REQUESTS[name]["parameters"], **parameters}}


@pytest.fixture
async def aws(ns: str, tmp_path: Path) -> AsyncIterator[Aws]:
    async with cloud.local_aws(ns, tmp_path) as made:
        yield made


@pytest.mark.proves("08.9", "08.10", "08.13", "08.16")
async def test_a_hub_model_is_deployed_asked_as_documented_and_removed_and_pods_answer_alike(
    client: Client, ns: str, aws: Aws
) -> None:
    await examples.apply(client, ns, await examples.manifests(FOLDER))
    account = await reaches(client, CLOUD_ACCOUNTS, ns, "default", "Authenticated")
    assert account["status"]["accountID"] == "111122223333"
    ready = await reaches(client, MODEL_ENDPOINTS, ns, "falcon2", "Serving", timeout=240)
    hosted = Hosted(aws.client("sagemaker-runtime"), ready["status"]["sageMaker"]["endpointName"])
    check_status(ready, aws.left())
    await check_documented(hosted)
    await check_limits_and_seeds(hosted)
    await check_refusals(hosted)
    asked = changed("generation", seed=7, max_new_tokens=24)
    said = await hosted.ask(asked)
    async with asyncio.TaskGroup() as at_once:
        at_once.create_task(removed(client, ns, aws))
        deployed = at_once.create_task(deployed_on_pods(client, ns))
    on_pods, url = deployed.result()
    assert conditions(on_pods) == conditions(ready)
    await until_measured(client, ns, "falcon2-pods")
    assert text_of(await asyncio.to_thread(posted, url, asked)) == said
    (short,) = await asyncio.to_thread(posted, url, changed("sentiment", details=True))
    assert 1 <= short["details"]["generated_tokens"] <= 2


def check_status(ready: Object, left: dict[str, list[str]]) -> None:
    """What serves, as what, and what it costs."""
    status, serving = ready["status"], ready["status"]["sageMaker"]
    assert [serving["endpointName"]] == left["endpoints"]
    assert [serving["config"]] == left["configurations"] == left["models"]
    assert status["externalID"].endswith(f":endpoint/{serving['endpointName']}")
    assert (serving["state"], serving["instanceType"], serving["modelVersion"]) == ("InService", "ml.g5.12xlarge", "1.2.8")
    assert "huggingface-pytorch-tgi-inference" in serving["image"]
    assert float(status["cost"]["hourlyUSD"]) > 1
    check_speed(status)


def check_speed(status: Object) -> None:
    """Tokens that the container told, by the time that the golden request took."""
    told = status["probe"]
    assert told["revision"] == status["revision"]
    assert 1 <= told["tokens"] <= 100
    assert float(told["tokensPerSecond"]) == pytest.approx(1000 * told["tokens"] / told["milliseconds"], abs=0.06)


async def until_measured(client: Client, ns: str, name: str) -> None:
    """A pod tells a moment after it is ready what its answer took."""
    async with asyncio.timeout(60):
        while not (found := await client.get(MODEL_ENDPOINTS, ns, name))["status"].get("probe"):
            await asyncio.sleep(0.5)
    check_speed(found["status"])


async def check_documented(hosted: Hosted) -> None:
    """Each as it is documented, all at once."""
    said = dict(zip(REQUESTS, await asyncio.gather(*map(hosted.ask, REQUESTS.values())), strict=True))
    for name, text in said.items():
        inputs = REQUESTS[name]["inputs"]
        if REQUESTS[name]["parameters"].get("return_full_text", True):
            assert text.startswith(inputs), name
            assert len(text) > len(inputs), name
        else:
            assert not text.startswith(inputs), name
    assert sum(bool(text.strip()) for text in said.values()) > len(said) / 2, "texts are generated, and not only shapes"


async def check_limits_and_seeds(hosted: Hosted) -> None:
    events = await asyncio.to_thread(hosted.streamed, changed("sentiment", details=True))
    assert 1 <= events[-1]["details"]["generated_tokens"] <= 2
    assert "".join(event["token"]["text"] for event in events) == events[-1]["generated_text"]
    brief = {"max_new_tokens": 24, "seed": 1}
    texts = [await hosted.ask(changed("generation", **{**brief, "seed": seed})) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    whole = await hosted.ask(changed("generation", **brief, return_full_text=True))
    assert whole == REQUESTS["generation"]["inputs"] + texts[0], "nothing but the input is left out"


async def check_refusals(hosted: Hosted) -> None:
    for name, value, why in (("temperature", 0.0, "must be strictly positive"), ("top_p", 1.2, "must be > 0.0 and < 1.0")):
        with pytest.raises(ClientError) as refused:
            await hosted.ask(changed("chat", **{name: value}))
        assert refused.value.response["OriginalStatusCode"] == 422
        assert f"`{name}` {why}" in refused.value.response["OriginalMessage"]


async def removed(client: Client, ns: str, aws: Aws) -> None:
    """Delete the endpoint; what ran and billed is gone with it."""
    await client.delete(MODEL_ENDPOINTS, ns, "falcon2")
    await gone(client, MODEL_ENDPOINTS, ns, "falcon2")
    assert aws.left() == cloud.NOTHING

    await cloud.nothing_runs(client, ns)


async def deployed_on_pods(client: Client, ns: str) -> tuple[Object, str]:
    """The same on pods, once it serves, and where it is asked."""
    wanted = examples.of_kind(await examples.manifests(f"{FOLDER}/overlays/pods"), "ModelEndpoint")
    wanted["spec"]["kubernetes"]["image"] = cluster.image("smollm2")
    await examples.apply(client, ns, [wanted])
    ready = await reaches(client, MODEL_ENDPOINTS, ns, "falcon2-pods", "Serving", timeout=240)
    service = await client.get(SERVICES, ns, "falcon2-pods")
    return ready, f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/invocations"


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]}


def posted(url: str, request: Object) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(request).encode()), timeout=120) as answer:
        return json.load(answer)
