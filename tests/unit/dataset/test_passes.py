"""A Dataset from its first pass to its deletion: worker, reader, Ready, another digest, and what is swept in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.engine.cache import Key
from millrace.kube.resources import JOBS
from millrace_controllers.dataset import CONTROLLER
from support.builders import dataset, merged, ready_dataset
from support.datasets import World

Object = dict[str, Any]
PRINTED = {"bytes": 4, "digest": "sha256:p", "rows": 1}


def report(version: str, digest: str) -> Object:
    splits = {"data": {"path": f"corpus/{version}/data.txt", **PRINTED}}
    return {"ok": True, "digest": digest, "version": version, "rows": 1, "bytes": 4, "columnCount": 0, "splits": splits}


async def published(world: World, version: str, digest: str) -> None:
    await world.once()
    world.ends("worker", report(version, digest))
    await world.once()
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    await world.once()


async def test_it_is_ready_only_when_another_pod_has_read_what_was_published() -> None:
    world = World()
    await world.once()
    assert world.ready == ("False", "Reading")
    world.ends("worker", report("aaa", "sha256:a"))
    await world.once()
    assert world.ready == ("False", "ReadingBack")
    assert len(world.jobs("verify")) == 1
    await world.once()
    assert world.ready == ("False", "ReadingBack"), "nobody has read it yet"
    assert len(world.jobs("verify")) == 1
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    await world.once()
    assert world.ready == ("True", "Published")
    await world.once()
    assert (world.jobs("worker"), world.jobs("verify")) == ([], []), "they go once the status tells of what they said"
    assert world.ready == ("True", "Published")


async def test_files_that_read_back_otherwise_are_never_ready() -> None:
    world = World()
    await world.once()
    world.ends("worker", report("aaa", "sha256:a"))
    await world.once()
    world.ends("verify", {"ok": False, "reason": "NotReadBack", "message": "data.txt is not the file that the worker wrote"})
    await world.once()
    assert world.ready == ("False", "NotReadBack")
    assert "digest" not in world.object["status"]


async def test_a_changed_source_is_a_new_digest_an_event_and_a_folder_of_its_own() -> None:
    world = World()
    await published(world, "aaa", "sha256:a")
    await world.once()
    world.object["metadata"]["annotations"] = {"millrace.dev/reconcile-at": "again"}
    await published(world, "bbb", "sha256:b")
    status = world.object["status"]
    assert [e.reason for e in world.events] == ["Published", "DigestChanged"]
    assert (status["digest"], status["splits"][0]["path"]) == ("sha256:b", "corpus/bbb/data.txt")
    assert [f["path"] for f in status["published"]] == ["corpus/aaa", "corpus/bbb"]


async def test_what_an_earlier_worker_left_does_not_vouch_for_a_later_one() -> None:
    world = World()
    await world.once()
    world.ends("worker", report("aaa", "sha256:a"))
    await world.once()
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    (worker,) = world.jobs("worker")
    await world.api.delete(JOBS, "team-a", worker["metadata"]["name"])
    await world.once()
    assert world.ready == ("False", "Reading"), "the worker was taken away by hand: it starts anew"
    assert world.jobs("verify") == []


COMPARING: Object = {"format": "csv", "quality": {"compareWith": [{"name": "train"}]}}


def compares(digest: str | None = "sha256:content", **change: Any) -> World:
    world = World(**COMPARING)
    others(world, digest, **change)
    return world


def others(world: World, digest: str | None, **change: Any) -> None:
    """The other Dataset as it is now; without a digest it has published nothing yet."""
    before = world.cache.get(Key("datasets", "team-a", "train")) or {"metadata": {"resourceVersion": "0"}}
    newer = {"metadata": {"resourceVersion": str(int(before["metadata"]["resourceVersion"]) + 1)}}
    made = merged(ready_dataset("train", format="csv"), newer)
    made["status"] = {**made["status"], "digest": digest} if digest else {}
    world.cache.put("datasets", merged(made, change))


@pytest.mark.proves("15.5")
async def test_it_waits_until_what_it_is_compared_with_is_ready_and_looks_again_when_that_changes() -> None:
    world = compares(None)
    await world.once()
    assert world.ready == ("False", "ComparedNotReady")
    assert world.jobs("worker") == []
    others(world, "sha256:one")
    await world.once()
    (told,) = json.loads(world.order()["MILLRACE_DATASET"])["quality"]["compareWith"]
    assert (told["name"], told["digest"]) == ("train", "sha256:one")
    assert [f["path"] for f in told["files"]] == [f"/millrace/claims/data/corpus/abc/{s}.txt" for s in ("train", "validation")]
    await published(world, "aaa", "sha256:a")
    await world.once()
    assert (world.ready, world.jobs("worker")) == (("True", "Published"), [])
    others(world, "sha256:two")
    await world.once()
    assert world.ready == ("False", "Reading"), "its rows are compared with those that the other one has now"


async def test_what_is_published_stays_so_while_the_other_is_not_ready() -> None:
    world = compares()
    await published(world, "aaa", "sha256:a")
    await world.once()
    others(world, None)
    await world.once()
    assert world.ready == ("True", "Published")
    assert "Dataset 'train' of spec.quality.compareWith is not Ready" in message(world, "Reconciling")


def message(world: World, type_: str = "Ready") -> str:
    return str(next(c["message"] for c in world.object["status"]["conditions"] if c["type"] == type_))


# change of the other one, words, reason
NEVER: list[tuple[Object, str, str]] = [
    ({"spec": {"format": "text"}}, "it is text, and this one csv", "another format has other rows"),
    ({"spec": {"publish": None}}, "it publishes nothing; give it spec.publish", "there is nothing to read"),
    (
        {"spec": {"layout": {"bedrock": {"customization": "FineTuning"}}}},
        "it publishes a layout and not its rows", "its files are of another format than its rows",
    ),
    ({"spec": {"quality": {"compareWith": [{"name": "corpus"}]}}}, "it waits for this one itself", "both would wait for ever"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words", "reason"), NEVER, ids=[n[-1] for n in NEVER])
async def test_what_can_never_be_compared_with_is_refused(change: Object, words: str, reason: str) -> None:
    world = compares(**change)
    await world.once()
    assert world.ready[0] == "False"
    assert f"Dataset 'train' of spec.quality.compareWith cannot be compared with: {words}" in message(world), reason
    assert next(c for c in world.object["status"]["conditions"] if c["type"] == "Stalled")["status"] == "True"


async def test_one_that_is_not_there_is_waited_for() -> None:
    world = World(**COMPARING)
    await world.once()
    assert (world.ready, "does not exist" in message(world)) == (("False", "ComparedNotReady"), True)


def test_a_change_of_the_other_wakes_it() -> None:
    assert CONTROLLER.references(dataset(**COMPARING)) == (Key("datasets", "team-a", "train"),)
    assert CONTROLLER.references(dataset()) == ()


@pytest.mark.parametrize(("policy", "swept"), [("Delete", True), ("Retain", False)])
async def test_every_folder_it_made_goes_with_it_if_that_is_the_policy(policy: str, swept: bool) -> None:
    world = World(dataPolicy=policy)
    await published(world, "aaa", "sha256:a")
    await world.once()
    world.object["metadata"]["annotations"] = {"millrace.dev/reconcile-at": "again"}
    await published(world, "bbb", "sha256:b")
    world.without_pods()
    made = await world.once(finalize=True)
    if not swept:
        assert made.released
        assert world.jobs("sweep") == []
        return
    root = "/millrace/claims/data/corpus"
    assert json.loads(world.order("sweep")["MILLRACE_TASK"]) == {
        "owner": world.object["metadata"]["uid"],
        "paths": [f"{root}/aaa", f"{root}/bbb"],
    }
