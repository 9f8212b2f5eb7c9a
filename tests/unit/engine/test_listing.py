"""A LIST of our own finds what no watch has told, deletions above all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from millrace.engine.registry import controllers
from millrace.engine.runtime import Runtime
from millrace.engine.settings import Settings
from millrace.kube.credentials import Credentials
from millrace.kube.resources import JOBS, Resource
from support import builders
from support.clock import FakeClock

Object = dict[str, Any]
OWNER = builders.training_job()


class Lists:
    """Answers LISTs by namespace; `meanwhile` happens after each."""

    def __init__(self, found: dict[str | None, list[Object]], meanwhile: Callable[[str | None], None] = lambda _: None) -> None:
        self.found, self.meanwhile = found, meanwhile

    async def list_objects(self, _: Resource, namespace: str | None, *, labels: str) -> AsyncIterator[Object]:
        for obj in self.found.get(namespace, []):
            yield obj
        self.meanwhile(namespace)


def job(attempt: int, version: int, namespace: str = "team-a") -> Object:
    return builders.job(OWNER, attempt, metadata={"resourceVersion": str(version), "namespace": namespace})


def runtime(lists: Lists, *held: Object, namespaces: tuple[str, ...] = ()) -> Runtime:
    nowhere = Credentials("http://nowhere.test", True, lambda: None)
    made = Runtime(
        controllers(),
        Settings(watch_namespaces=namespaces),
        nowhere,
        clock=FakeClock(),
        client=lists,  # type: ignore[arg-type]
    )
    for obj in held:
        made.cache.put("jobs", obj)
    return made


def names(made: Runtime) -> list[str]:
    return [j["metadata"]["name"] for j in made.cache.children(builders.UID, "jobs")]


async def relist(made: Runtime) -> list[Object]:
    woken: list[Object] = []
    await made._relist(JOBS, woken.append)
    return woken


# held (attempt, version), listed, left, reason
LISTS = [
    ([(1, 5)], [(1, 5)], [1], "nothing happened"),
    ([(1, 5)], [(1, 5), (2, 9)], [1, 2], "one was made"),
    ([(1, 5), (2, 6)], [(2, 6)], [2], "one was deleted"),
    ([(1, 5), (2, 6)], [(1, 5)], [1], "the newest of all was deleted"),
    ([(1, 5)], [], [], "the only one was deleted"),
]


@pytest.mark.parametrize(("held", "listed", "left", "reason"), LISTS, ids=[row[-1] for row in LISTS])
async def test_a_listing_brings_the_cache_to_what_is_there(
    held: list[tuple[int, int]], listed: list[tuple[int, int]], left: list[int], reason: str
) -> None:
    made = runtime(Lists({None: [job(*j) for j in listed]}), *(job(*j) for j in held))
    woken = await relist(made)
    assert names(made) == [f"gpt-111111-{n}" for n in left], reason
    assert len(woken) == len(set(held) ^ set(listed)), "what changed or went wakes its owner"


async def test_what_comes_while_the_list_is_on_its_way_stays() -> None:
    lists = Lists({None: [job(1, 5)]})
    made = runtime(lists, job(1, 5))
    lists.meanwhile = lambda _: made.cache.put("jobs", job(2, 7)) and None
    await relist(made)
    assert names(made) == ["gpt-111111-1", "gpt-111111-2"]


async def test_what_comes_between_the_lists_of_two_namespaces_stays() -> None:
    lists = Lists({"team-a": [], "team-b": [job(3, 9, "team-b")]})
    made = runtime(lists, namespaces=("team-a", "team-b"))
    lists.meanwhile = lambda namespace: made.cache.put("jobs", job(1, 8)) and None if namespace == "team-a" else None
    await relist(made)
    assert names(made) == ["gpt-111111-1", "gpt-111111-3"]
