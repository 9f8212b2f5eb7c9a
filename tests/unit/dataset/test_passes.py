"""A Dataset from its first pass to its deletion: worker, reader, Ready, another digest, and what is swept in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.kube.resources import JOBS
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
