"""Two candidates, one Lease: never two leaders, and never none for longer than it must be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millrace.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, Unavailable
from millrace.kube.leader import Election
from millrace.kube.resources import Resource
from support.builders import merged
from support.clock import in_virtual_time

Object = dict[str, Any]
SECONDS = 15


class Leases:
    """One Lease with the API server's resource versions."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.error: ApiError | None = None
        self.hangs = False
        self._version = 0

    async def _reached(self) -> None:
        if self.hangs:
            await asyncio.sleep(30)
        if self.error:
            raise self.error

    def _stored(self, lease: Object) -> Object:
        self._version += 1
        self.lease = merged(lease, {"metadata": {"resourceVersion": str(self._version)}})
        return self.lease

    async def get(self, _: Resource, namespace: str, name: str) -> Object:
        await self._reached()
        if self.lease is None:
            raise NotFound(404, "NotFound", "no lease")
        return self.lease

    async def create(self, _: Resource, manifest: Object) -> Object:
        await self._reached()
        if self.lease is not None:
            raise AlreadyExists(409, "AlreadyExists", "exists")
        return self._stored(manifest)

    async def patch(self, _: Resource, namespace: str, name: str, body: Object) -> Object:
        await self._reached()
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self._stored(merged(self.lease, body))

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def candidate(leases: Leases, name: str) -> Election:
    loop = asyncio.get_running_loop()
    return Election(leases, "millrace-system", "millrace-operator", name, SECONDS, loop.time)  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_candidate_leads_at_once() -> None:
    async def story() -> tuple[str, float]:
        leases = Leases()
        await candidate(leases, "a").acquire()
        return leases.holder, now()

    assert in_virtual_time(story()) == ("a", 0)


def test_a_second_candidate_waits_as_long_as_the_first_renews() -> None:
    async def story() -> tuple[str, bool]:
        leases = Leases()
        first, second = candidate(leases, "a"), candidate(leases, "b")
        await first.acquire()
        holding, waiting = asyncio.create_task(first.hold()), asyncio.create_task(second.acquire())
        await asyncio.sleep(3600)
        done = waiting.done() or holding.done()
        for task in (holding, waiting):
            task.cancel()
        return leases.holder, done

    assert in_virtual_time(story()) == ("a", False)


def test_a_dead_leader_is_followed_when_its_lease_was_seen_unchanged_for_its_duration_and_not_before() -> None:
    async def story() -> tuple[float, Object]:
        leases = Leases()
        await candidate(leases, "a").acquire()
        await asyncio.sleep(1000)
        second = candidate(leases, "b")
        begun = now()
        await second.acquire()
        assert leases.lease is not None
        return now() - begun, leases.lease["spec"]

    waited, spec = in_virtual_time(story())
    assert SECONDS < waited <= SECONDS + SECONDS / 7.5, "an old renewTime says nothing: the clocks of two machines differ"
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)


def test_a_released_lease_is_taken_over_at_the_next_look() -> None:
    async def story() -> float:
        leases = Leases()
        first, second = candidate(leases, "a"), candidate(leases, "b")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(1)
        await first.release()
        await waiting
        assert leases.holder == "b"
        return now()

    assert in_virtual_time(story()) <= 1 + SECONDS / 7.5


def test_a_lease_that_another_holds_is_not_released() -> None:
    async def story() -> str:
        leases = Leases()
        await candidate(leases, "a").acquire()
        await candidate(leases, "b").release()
        return leases.holder

    assert in_virtual_time(story()) == "a"


def test_of_two_that_see_a_lease_run_out_one_takes_it() -> None:
    async def story() -> list[str]:
        leases = Leases()
        await candidate(leases, "dead").acquire()
        await asyncio.sleep(1)
        leaders: list[str] = []

        async def stands(name: str) -> None:
            election = candidate(leases, name)
            await election.acquire()
            leaders.append(name)
            await election.hold()

        tasks = [asyncio.create_task(stands(name)) for name in ("b", "c", "d")]
        await asyncio.sleep(300)
        for task in tasks:
            task.cancel()
        return leaders

    assert len(in_virtual_time(story())) == 1


@pytest.mark.parametrize("trouble", ["error", "hangs", "taken"])
def test_a_leader_that_cannot_renew_stops_before_another_may_follow(trouble: str) -> None:
    async def story() -> float:
        leases = Leases()
        first = candidate(leases, "a")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        await asyncio.sleep(60)
        last = now()
        if trouble == "error":
            leases.error = Unavailable(0, "Unreachable", "no route")
        elif trouble == "hangs":
            leases.hangs = True
        else:
            assert leases.lease is not None
            leases._stored(merged(leases.lease, {"spec": {"holderIdentity": "b"}}))
        await holding
        return now() - last

    stopped_after = in_virtual_time(story())
    assert stopped_after < SECONDS, "another candidate may lead from then on"


def test_a_short_outage_does_not_cost_the_leadership() -> None:
    async def story() -> bool:
        leases = Leases()
        first = candidate(leases, "a")
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        for _ in range(20):
            leases.error = Unavailable(503, "", "restarting")
            await asyncio.sleep(5)
            leases.error = None
            await asyncio.sleep(5)
        ended = holding.done()
        holding.cancel()
        return ended

    assert in_virtual_time(story()) is False


def test_a_leader_that_comes_back_under_its_own_name_goes_on_at_once() -> None:
    async def story() -> float:
        leases = Leases()
        await candidate(leases, "a").acquire()
        await asyncio.sleep(3)
        await candidate(leases, "a").acquire()
        return now()

    assert in_virtual_time(story()) == 3
