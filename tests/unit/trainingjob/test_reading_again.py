"""Jobs and pods are watched by streams of their own: where one may be behind, the API server is asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace_controllers.trainingjob.backends.kubernetes import KubernetesTrainer
from millrace_controllers.trainingjob.observed import JobState
from support.builders import BEGIN, ago, job, running_pod, training_job

Object = dict[str, Any]
OWNER = training_job()
GOING = {"deletionTimestamp": ago(-20), "deletionGracePeriodSeconds": 30}


class World:
    """A pass that sees an active Job whose pod is being deleted, and the Job as the API server has it."""

    def __init__(self, queue: str | None, real: Object | None) -> None:
        self.asked, self.real = 0, real
        self.object, self.status, self.uid, self.namespace = OWNER, {}, OWNER["metadata"]["uid"], "default"
        shape = SimpleNamespace(nodes=1, queue_name=queue)
        self.spec: Any = SimpleNamespace(kubernetes=shape)
        self.clock = SimpleNamespace(now=lambda: BEGIN, monotonic=lambda: 0.0)
        self.client = self
        self.seen = {"jobs": [job(OWNER)], "pods": [running_pod(OWNER, metadata=GOING)]}

    def children(self, resource: Any) -> list[Object]:
        return self.seen[resource.plural]

    def child(self, resource: Any, name: str) -> Object | None:
        return next((c for c in self.children(resource) if c["metadata"]["name"] == name), None)

    async def find(self, *_: Any) -> Object | None:
        self.asked += 1
        return self.real


# queue, the Job as it is, state, questions, reason
CASES: list[tuple[str | None, Object | None, JobState, int, str]] = [
    ("gpus", job(OWNER, spec={"suspend": True}), JobState.SUSPENDED, 1, "its queue has taken it back"),
    ("gpus", job(OWNER), JobState.ACTIVE, 1, "somebody deleted its pod"),
    ("gpus", None, JobState.MISSING, 1, "somebody deleted the Job"),
    (None, job(OWNER, spec={"suspend": True}), JobState.ACTIVE, 0, "there is no queue"),
]


@pytest.mark.parametrize(("queue", "real", "state", "asked", "reason"), CASES, ids=[c[-1] for c in CASES])
async def test_a_pod_that_is_deleted_under_a_queue_is_judged_by_the_job_as_it_is(
    queue: str | None, real: Object | None, state: JobState, asked: int, reason: str
) -> None:
    world: Any = World(queue, real)
    trainer = KubernetesTrainer()
    current = await trainer._current(world, 1)
    assert (current.job, world.asked) == (state, asked), reason
