"""System 15's data on real nodes: real film reviews become checked conversations that two readers of the claim agree on."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from millrace.kube.client import Client
from support import examples
from support.cluster import DATASETS, Running, condition, reaches

pytestmark = pytest.mark.e2e
FOLDER = "examples/15-marketplace-finetuning/overlays/local"
LABELS = """
import json
for name in {files!r}:
    for line in open("/claim/" + name, encoding="utf-8"):
        print(json.dumps([name, *(m["content"] for m in json.loads(line)["messages"][1:])]))
"""


@pytest.mark.proves("15.3")
async def test_the_examples_are_published_and_no_sentence_is_in_both(client: Client, ns: str, running: Running) -> None:
    await examples.apply(client, ns, await examples.manifests(FOLDER))
    train = await reaches(client, DATASETS, ns, "train", "Published")
    evaluation = await reaches(client, DATASETS, ns, "evaluation", "Published")
    assert train["status"]["conversations"]["examples"] == 120
    assert condition(train, "ExamplesWarning") == {}, "100 are enough"
    files = [found["status"]["splits"][0]["path"] for found in (train, evaluation)]
    told = await examples.read_claim(client, ns, "tuning", LABELS.format(files=files))
    rows = [json.loads(line) for line in told.splitlines()]
    asked = {name: {question for file, question, _ in rows if file == name} for name in files}
    assert asked[files[0]] & asked[files[1]] == set()
    assert Counter(label for file, _, label in rows if file == files[0]) == dict.fromkeys(
        ("very negative", "negative", "neutral", "positive", "very positive"), 24
    )
