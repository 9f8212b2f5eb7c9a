"""One suite over every backend: what DESIGN section 4 promises of the port, against the real outside system."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from millrace.engine import reasons
from millrace.engine.cache import Cache
from millrace.engine.clock import SystemClock
from millrace.engine.controller import Pass
from millrace.engine.progress import Board
from millrace.kube import credentials
from millrace.kube.client import Client
from millrace.kube.errors import ApiError, Forbidden, Throttled, Unavailable
from millrace.kube.resources import Resource
from support import cluster
from support.cluster import KINDS, condition, eventually, gone, reaches

from .adapters import ADAPTERS, Adapter, pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("adapter", ADAPTERS, ids=[a.name for a in ADAPTERS])]
Object = dict[str, Any]


class Faulty(Client):
    """Answers some calls with an error of the test's choice instead of sending them; `met` counts those."""

    fault: Callable[[str, str], ApiError | None] = staticmethod(lambda _verb, _plural: None)
    met = 0

    async def _call(self, verb: str, resource: Resource, *rest: Any, **named: Any) -> Any:
        if error := self.fault(verb, resource.plural):
            self.met += 1
            raise error
        return await super()._call(verb, resource, *rest, **named)


def faulty(fault: Callable[[str, str], ApiError | None]) -> Faulty:
    made = Faulty(credentials.load())
    made.fault = fault  # type: ignore[method-assign]
    return made


def a_pass(client: Client, obj: Object, adapter: Adapter) -> Pass:
    """A pass of its own, that knows nothing but the object."""
    clock = SystemClock()
    return Pass(
        obj,
        KINDS[adapter.resource.kind],
        client,
        Cache(),
        Board(clock.monotonic()),
        clock,
        cluster.settings(obj["metadata"]["namespace"], progress_url=""),
    )


async def informed(client: Client, obj: Object, adapter: Adapter) -> Pass:
    """A pass that knows what exists, as the watch would have told it."""
    ctx = a_pass(client, obj, adapter)
    chosen = f"millrace.dev/owner-uid={obj['metadata']['uid']}"
    for resource in ctx.controller.children:
        async for found in client.list_objects(resource, ctx.namespace, labels=chosen):
            ctx.cache.put(resource.plural, found)
    return ctx


async def made(client: Client, adapter: Adapter, manifest: Object) -> Object:
    return await client.create(adapter.resource, manifest)


async def create(ctx: Pass, adapter: Adapter) -> None:
    await adapter.backend.create(ctx, adapter.wanted(ctx, await adapter.backend.observe(ctx)))


# -- the port itself -----------------------------------------------------------------------------------------------------


async def test_create_twice_makes_one_thing(client: Client, ns: str, adapter: Adapter) -> None:
    obj = await made(client, adapter, adapter.endless(ns, "t"))
    await create(a_pass(client, obj, adapter), adapter)
    first = await adapter.things(client, obj)
    await create(a_pass(client, obj, adapter), adapter)
    assert len(first) == 1
    assert await adapter.things(client, obj) == first


async def test_two_creates_at_the_same_time_make_one_thing(client: Client, ns: str, adapter: Adapter) -> None:
    obj = await made(client, adapter, adapter.endless(ns, "t"))
    await asyncio.gather(*(create(a_pass(client, obj, adapter), adapter) for _ in range(5)))
    assert len(await adapter.things(client, obj)) == 1


async def test_deleting_nothing_is_success(client: Client, ns: str, adapter: Adapter) -> None:
    obj = await made(client, adapter, adapter.endless(ns, "t"))
    assert await adapter.backend.delete(a_pass(client, obj, adapter)) is True


async def test_delete_says_that_it_is_done_only_when_nothing_is_left(client: Client, ns: str, adapter: Adapter) -> None:
    obj = await made(client, adapter, adapter.endless(ns, "t"))
    ctx = a_pass(client, obj, adapter)
    await create(ctx, adapter)
    assert await adapter.backend.delete(ctx) is False

    async def done() -> bool:
        return await adapter.backend.delete(await informed(client, obj, adapter))

    await eventually(done, "everything was taken down")
    assert await adapter.things(client, obj) == {}
    assert await pods_of(client, obj) == {}


# -- under the operator --------------------------------------------------------------------------------------------------


async def test_a_thing_whose_creation_was_never_noted_is_adopted(client: Client, ns: str, adapter: Adapter) -> None:
    """The operator ends between the creation and the write of the status."""
    obj = await made(client, adapter, adapter.quick(ns, "t"))
    await create(a_pass(client, obj, adapter), adapter)
    left = await adapter.things(client, obj)
    async with cluster.operator(cluster.settings(ns)):

        async def noted() -> Object | None:
            found = await client.get(adapter.resource, ns, "t")
            return found if condition(found, _summary(adapter)) else None

        await eventually(noted, "the status tells of it")
        assert left.items() >= (await adapter.things(client, obj)).items()
        await reaches(client, adapter.resource, ns, "t", adapter.done)


async def test_a_status_that_cannot_be_written_makes_nothing_twice(client: Client, ns: str, adapter: Adapter) -> None:
    failures = 3

    def fault(verb: str, plural: str) -> ApiError | None:
        nonlocal failures
        if verb != "patch_status" or plural != adapter.resource.plural or failures == 0:
            return None
        failures -= 1
        return Unavailable(503, "ServiceUnavailable", "etcd is away")

    broken = faulty(fault)
    seen: dict[str, set[str]] = {}
    async with cluster.operator(cluster.settings(ns), client=broken):
        obj = await made(client, adapter, adapter.quick(ns, "t"))

        async def done() -> bool:
            for name, uid in (await adapter.things(client, obj)).items():
                seen.setdefault(name, set()).add(uid)
            return condition(await client.get(adapter.resource, ns, "t"), _summary(adapter)).get("reason") == adapter.done

        await eventually(done, adapter.done)
    assert broken.met == 3
    assert [len(uids) for uids in seen.values()] == [1]


async def test_throttled_is_tried_again(client: Client, ns: str, adapter: Adapter) -> None:
    busy = True

    def fault(verb: str, plural: str) -> ApiError | None:
        if (verb, plural) != (adapter.create_verb, adapter.create_resource) or not busy:
            return None
        error = Throttled(429, "TooManyRequests", "too many requests, please try again later")
        error.after = 0.5
        return error

    slow = faulty(fault)
    async with cluster.operator(cluster.settings(ns), client=slow):
        await made(client, adapter, adapter.quick(ns, "t"))
        said = await reaches(client, adapter.resource, ns, "t", reasons.RETRYING.name)
        assert "too many requests" in condition(said, _summary(adapter))["message"]
        assert condition(said, "Reconciling")["status"] == "True"
        assert condition(said, "Stalled") == {}
        busy = False
        await reaches(client, adapter.resource, ns, "t", adapter.done)
    assert slow.met > 0


async def test_denied_names_the_missing_permission_and_goes_on_when_it_is_given(
    client: Client, ns: str, adapter: Adapter
) -> None:
    allowed = False
    message = f'{adapter.missing} "x" is forbidden: User "operator" cannot {adapter.create_verb} resource "{adapter.missing}"'

    def fault(verb: str, plural: str) -> ApiError | None:
        refused = (verb, plural) == (adapter.create_verb, adapter.create_resource) and not allowed
        return Forbidden(403, "Forbidden", message) if refused else None

    async with cluster.operator(cluster.settings(ns), client=faulty(fault)):
        await made(client, adapter, adapter.quick(ns, "t"))
        said = await reaches(client, adapter.resource, ns, "t", reasons.DENIED.name)
        assert adapter.missing in condition(said, _summary(adapter))["message"]
        allowed = True
        forced = {"metadata": {"annotations": {"millrace.dev/reconcile-at": "the role was mended"}}}
        await client.patch(adapter.resource, ns, "t", forced)
        await reaches(client, adapter.resource, ns, "t", adapter.done)


async def test_a_thing_that_vanishes_is_made_again(client: Client, ns: str, adapter: Adapter) -> None:
    async with cluster.operator(cluster.settings(ns)):
        obj = await made(client, adapter, adapter.endless(ns, "t"))
        await reaches(client, adapter.resource, ns, "t", adapter.running)
        first = await adapter.things(client, obj)
        await adapter.vanish(client, obj)

        async def again() -> bool:
            now = await adapter.things(client, obj)
            return bool(set(now.values()) - set(first.values()))

        await eventually(again, "it was made again")


async def test_the_deadline_frees_what_runs(client: Client, ns: str, adapter: Adapter) -> None:
    manifest = adapter.endless(ns, "t")
    if adapter.deadline is None:
        assert "limits" not in KINDS[adapter.resource.kind].kind.spec.model_fields, "a kind with limits has a deadline to test"
        return
    adapter.deadline(manifest)
    async with cluster.operator(cluster.settings(ns)):
        obj = await made(client, adapter, manifest)
        await reaches(client, adapter.resource, ns, "t", "DeadlineExceeded")
        await freed(client, adapter, obj)


async def test_a_cancelled_object_leaves_nothing_that_runs(client: Client, ns: str, adapter: Adapter) -> None:
    async with cluster.operator(cluster.settings(ns)):
        obj = await made(client, adapter, adapter.endless(ns, "t"))
        await reaches(client, adapter.resource, ns, "t", adapter.running)
        await client.delete(adapter.resource, ns, "t")
        await gone(client, adapter.resource, ns, "t")
        await freed(client, adapter, obj)


async def test_a_suspended_object_leaves_nothing_that_runs(client: Client, ns: str, adapter: Adapter) -> None:
    async with cluster.operator(cluster.settings(ns)):
        obj = await made(client, adapter, adapter.endless(ns, "t"))
        await reaches(client, adapter.resource, ns, "t", adapter.running)
        await client.patch(adapter.resource, ns, "t", {"spec": {"suspend": True}})
        await reaches(client, adapter.resource, ns, "t", "Suspended")
        await freed(client, adapter, obj)


async def freed(client: Client, adapter: Adapter, obj: Object) -> None:
    async def check() -> bool:
        return not await adapter.things(client, obj) and not await pods_of(client, obj)

    await eventually(check, "nothing is left")


def _summary(adapter: Adapter) -> str:
    return KINDS[adapter.resource.kind].kind.summary
