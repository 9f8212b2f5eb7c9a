"""A small instruct model that ships in a package, served by the same kind and asked as a user would."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from millrace.kube.client import Client
from support import cluster, examples
from support.cluster import MODEL_ENDPOINTS, condition, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Object = dict[str, Any]


def instruct(ns: str) -> Object:
    """As in docs/kinds/modelendpoint.md."""
    question = {"model": "instruct", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "max_tokens": 16}
    serving = {
        "image": cluster.image("smollm2"),
        "readyPath": "/ready",
        "replicas": 1,
        "resources": {"cpu": "100m", "memory": "1Gi"},
    }
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "ModelEndpoint",
        "metadata": {"name": "instruct", "namespace": ns},
        "spec": {
            "model": {"uri": "file:///models/smollm2-135m-instruct"},
            "kubernetes": serving,
            "probe": {
                "request": {"path": "/v1/chat/completions", "body": question},
                "expect": {"matches": '"content": ?"[^"]+"'},
            },
        },
    }


async def millrace(ns: str, *arguments: str) -> str:
    return await examples.run(sys.executable, "-m", "millrace.cli.main", *arguments, "-n", ns)


async def test_it_is_asked_and_answers(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        await client.create(MODEL_ENDPOINTS, instruct(ns))
        ready = await reaches(client, MODEL_ENDPOINTS, ns, "instruct", "Serving", timeout=180)
        assert ready["status"]["traffic"][0]["digest"].startswith("sha256:"), "the digest of the image that the model is in"
        asked = ("ask", "instruct", "What is the capital of France?", "--max-tokens", "24")
        answer = await millrace(ns, *asked)
        assert len(answer.split()) > 3, "135 million parameters know words, not capitals"
        assert await millrace(ns, *asked) == answer, "at temperature 0 the same question has the same answer"
        shown = json.loads(await millrace(ns, "status", "-o", "json"))
        assert shown[0]["latency_p50"] > 0, "the pod's own metrics tell how long answers took"


async def test_a_bad_parameter_of_the_server_is_named(client: Client, ns: str) -> None:
    async with cluster.operator(cluster.settings(ns)):
        wrong = instruct(ns)
        wrong["spec"]["kubernetes"]["parameters"] = {"maxQeue": "8"}
        await client.create(MODEL_ENDPOINTS, wrong)
        failed = await reaches(client, MODEL_ENDPOINTS, ns, "instruct", "ServerFailed", timeout=120)
        assert "maxQeue" in condition(failed, "Ready")["message"]
