"""A Dataset from its first pass to its deletion: worker, reader, Ready, another digest, and what is swept in the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from millrace.engine.cache import Cache, Key
from millrace.engine.conditions import desired_status
from millrace.engine.controller import Pass
from millrace.engine.outcome import Outcome
from millrace.engine.progress import Board
from millrace.engine.settings import Settings
from millrace.kube.resources import JOBS, PODS, Resource
from millrace_controllers.dataset import CONTROLLER
from support.builders import child, condition, container, dataset, merged
from support.clock import FakeClock

Object = dict[str, Any]
PRINTED = {"bytes": 4, "digest": "sha256:p", "rows": 1}


class Api:
    """As much of an API server as a Dataset's passes call; what is created is seen at once."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.made = cache, 0

    async def create(self, _: Resource, manifest: Object) -> Object:
        self.made += 1
        return merged(manifest, {"metadata": {"uid": f"{self.made:08d}-of-a-job", "resourceVersion": str(self.made)}})

    async def delete(self, resource: Resource, ns: str, name: str, **_: Any) -> None:
        self.cache.remove(resource.plural, self.cache.get(Key(resource.plural, ns, name)) or {})

    async def list_objects(self, *_: Any, **__: Any) -> AsyncIterator[Object]:
        for nothing in ():
            yield nothing


class World:
    """One Dataset, its Jobs, and what their pods say when they end."""

    def __init__(self, **change: Any) -> None:
        self.object = dataset({}, **change)
        self.cache, self.clock = Cache(), FakeClock()
        self.api = Api(self.cache)
        self.events: list[str] = []

    async def passes(self, finalize: bool = False) -> Outcome:
        ctx = Pass(self.object, CONTROLLER, self.api, self.cache, Board(self.clock), self.clock, Settings())  # type: ignore[arg-type]
        made = await (CONTROLLER.finalize if finalize else CONTROLLER.reconcile)(ctx)
        self.object["status"] = desired_status(self.object["status"], made, 1, "2026-01-01T00:00:00Z")
        self.events += [event.reason for event in made.events]
        return made

    def jobs(self, role: str) -> list[Object]:
        found = self.cache.children(self.object["metadata"]["uid"], JOBS.plural)
        return [j for j in found if j["metadata"]["labels"]["millrace.dev/role"] == role]

    def ends(self, role: str, said: Object) -> None:
        """The one Job of a role ends with these last words."""
        (job,) = self.jobs(role)
        name, good = job["metadata"]["name"], bool(said["ok"])
        self.cache.put(
            JOBS.plural,
            merged(
                job,
                {"metadata": {"resourceVersion": "50"}, "status": {"conditions": [condition("Complete" if good else "Failed")]}},
            ),
        )
        ended = {"containerStatuses": [container(role, terminated={"exitCode": int(not good), "message": json.dumps(said)})]}
        marks = {"metadata": {"labels": {"batch.kubernetes.io/job-name": name}}, "status": ended}
        self.cache.put(PODS.plural, child(self.object, "Pod", f"{name}-x", role, 0, **marks))

    @property
    def ready(self) -> tuple[str, str]:
        found = next(c for c in self.object["status"]["conditions"] if c["type"] == "Ready")
        return found["status"], found["reason"]


def report(version: str, digest: str) -> Object:
    splits = {"data": {"path": f"corpus/{version}/data.txt", **PRINTED}}
    return {"ok": True, "digest": digest, "version": version, "rows": 1, "bytes": 4, "columnCount": 0, "splits": splits}


async def published(world: World, version: str, digest: str) -> None:
    await world.passes()
    world.ends("worker", report(version, digest))
    await world.passes()
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    await world.passes()


async def test_it_is_ready_only_when_another_pod_has_read_what_was_published() -> None:
    world = World()
    await world.passes()
    assert world.ready == ("False", "Reading")
    world.ends("worker", report("aaa", "sha256:a"))
    await world.passes()
    assert world.ready == ("False", "ReadingBack")
    assert len(world.jobs("verify")) == 1
    await world.passes()
    assert world.ready == ("False", "ReadingBack"), "nobody has read it yet"
    assert len(world.jobs("verify")) == 1
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    await world.passes()
    assert world.ready == ("True", "Published")
    await world.passes()
    assert (world.jobs("worker"), world.jobs("verify")) == ([], []), "they go once the status tells of what they said"
    assert world.ready == ("True", "Published")


async def test_files_that_read_back_otherwise_are_never_ready() -> None:
    world = World()
    await world.passes()
    world.ends("worker", report("aaa", "sha256:a"))
    await world.passes()
    world.ends("verify", {"ok": False, "reason": "NotReadBack", "message": "data.txt is not the file that the worker wrote"})
    await world.passes()
    assert world.ready == ("False", "NotReadBack")
    assert "digest" not in world.object["status"]


async def test_a_changed_source_is_a_new_digest_an_event_and_a_folder_of_its_own() -> None:
    world = World()
    await published(world, "aaa", "sha256:a")
    await world.passes()
    world.object["metadata"]["annotations"] = {"millrace.dev/reconcile-at": "again"}
    await published(world, "bbb", "sha256:b")
    status = world.object["status"]
    assert world.events == ["Published", "DigestChanged"]
    assert (status["digest"], status["splits"][0]["path"]) == ("sha256:b", "corpus/bbb/data.txt")
    assert [f["path"] for f in status["published"]] == ["corpus/aaa", "corpus/bbb"]


async def test_what_an_earlier_worker_left_does_not_vouch_for_a_later_one() -> None:
    world = World()
    await world.passes()
    world.ends("worker", report("aaa", "sha256:a"))
    await world.passes()
    world.ends("verify", {"ok": True, "files": 1, "bytes": 4})
    (worker,) = world.jobs("worker")
    await world.api.delete(JOBS, "team-a", worker["metadata"]["name"])
    await world.passes()
    assert world.ready == ("False", "Reading"), "the worker was taken away by hand: it starts anew"
    assert world.jobs("verify") == []


@pytest.mark.parametrize(("policy", "swept"), [("Delete", True), ("Retain", False)])
async def test_every_folder_it_made_goes_with_it_if_that_is_the_policy(policy: str, swept: bool) -> None:
    world = World(dataPolicy=policy)
    await published(world, "aaa", "sha256:a")
    await world.passes()
    world.object["metadata"]["annotations"] = {"millrace.dev/reconcile-at": "again"}
    await published(world, "bbb", "sha256:b")
    for pod in world.cache.children(world.object["metadata"]["uid"], PODS.plural):
        world.cache.remove(PODS.plural, pod)
    made = await world.passes(finalize=True)
    if not swept:
        assert made.released
        assert world.jobs("sweep") == []
        return
    (job,) = world.jobs("sweep")
    (task,) = [e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == "MILLRACE_TASK"]
    root = "/millrace/claims/data/corpus"
    assert json.loads(task) == {"owner": world.object["metadata"]["uid"], "paths": [f"{root}/aaa", f"{root}/bbb"]}
