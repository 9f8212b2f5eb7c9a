"""One suite over every backend: what DESIGN section 4 promises of the port, against the real outside system."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millrace.engine import reasons
from millrace.engine.controller import Pass
from millrace.kube.errors import ApiError, Unavailable
from support import cluster
from support.cluster import KINDS, condition, eventually, gone, reaches

from .adapters import IN_CLUSTER, Adapter, pods_of
from .on_sagemaker import ON_SAGEMAKER
from .places import Place, faulty

ADAPTERS = (*IN_CLUSTER, *ON_SAGEMAKER)
"""A new backend joins here."""
pytestmark = [pytest.mark.cluster, pytest.mark.parametrize("adapter", ADAPTERS, ids=[a.name for a in ADAPTERS])]
Object = dict[str, Any]


async def informed(place: Place, obj: Object, adapter: Adapter) -> Pass:
    """A pass that knows what exists, as the watch would have told it."""
    ctx = place.a_pass(obj, adapter.resource)
    chosen = f"millrace.dev/owner-uid={obj['metadata']['uid']}"
    for resource in ctx.controller.children:
        async for found in place.client.list_objects(resource, ctx.namespace, labels=chosen):
            ctx.cache.put(resource.plural, found)
    return ctx


async def made(place: Place, adapter: Adapter, manifest: Object) -> Object:
    return await place.client.create(adapter.resource, manifest)


async def create(place: Place, obj: Object, adapter: Adapter) -> None:
    await adapter.create(place.a_pass(obj, adapter.resource))


async def comes_to(place: Place, adapter: Adapter, obj: Object, reason: str) -> Object:
    return await reaches(place.client, adapter.resource, place.ns, obj["metadata"]["name"], reason)


async def read(place: Place, adapter: Adapter, obj: Object) -> Object:
    return await place.client.get(adapter.resource, place.ns, obj["metadata"]["name"])


# -- the port itself -----------------------------------------------------------------------------------------------------


async def test_create_twice_makes_one_thing(place: Place, adapter: Adapter) -> None:
    obj = await made(place, adapter, adapter.endless(place.ns))
    await create(place, obj, adapter)
    first = await adapter.things(place, obj)
    await create(place, obj, adapter)
    assert len(first) == 1
    assert await adapter.things(place, obj) == first


async def test_two_creates_at_the_same_time_make_one_thing(place: Place, adapter: Adapter) -> None:
    obj = await made(place, adapter, adapter.endless(place.ns))
    await asyncio.gather(*(create(place, obj, adapter) for _ in range(5)))
    assert len(await adapter.things(place, obj)) == 1


async def test_deleting_nothing_is_success(place: Place, adapter: Adapter) -> None:
    obj = await made(place, adapter, adapter.endless(place.ns))
    assert await adapter.backend.delete(place.a_pass(obj, adapter.resource)) is True


async def test_delete_says_that_it_is_done_only_when_nothing_is_left(place: Place, adapter: Adapter) -> None:
    obj = await made(place, adapter, adapter.endless(place.ns))
    ctx = place.a_pass(obj, adapter.resource)
    await adapter.create(ctx)
    assert await adapter.backend.delete(ctx) is False

    async def done() -> bool:
        return await adapter.backend.delete(await informed(place, obj, adapter))

    await eventually(done, "everything was taken down")
    assert await adapter.running(place, obj) == {}
    assert await pods_of(place, obj) == {}


# -- under the operator --------------------------------------------------------------------------------------------------


async def test_a_thing_whose_creation_was_never_noted_is_adopted(place: Place, adapter: Adapter) -> None:
    """The operator ends between the creation and the write of the status."""
    obj = await made(place, adapter, adapter.quick(place.ns))
    await create(place, obj, adapter)
    left = await adapter.things(place, obj)
    async with cluster.operator(place.settings):

        async def noted() -> Object | None:
            found = await read(place, adapter, obj)
            return found if condition(found, _summary(adapter)) else None

        await eventually(noted, "the status tells of it")
        assert left.items() >= (await adapter.things(place, obj)).items()
        await comes_to(place, adapter, obj, adapter.done)


async def test_a_status_that_cannot_be_written_makes_nothing_twice(place: Place, adapter: Adapter) -> None:
    failures = 3

    def fault(verb: str, plural: str) -> ApiError | None:
        nonlocal failures
        if verb != "patch_status" or plural != adapter.resource.plural or failures == 0:
            return None
        failures -= 1
        return Unavailable(503, "ServiceUnavailable", "etcd is away")

    broken = faulty(fault)
    seen: dict[str, set[str]] = {}
    async with cluster.operator(place.settings, client=broken):
        obj = await made(place, adapter, adapter.quick(place.ns))

        async def done() -> bool:
            for name, uid in (await adapter.things(place, obj)).items():
                seen.setdefault(name, set()).add(uid)
            return condition(await read(place, adapter, obj), _summary(adapter)).get("reason") == adapter.done

        await eventually(done, adapter.done)
    assert broken.met == 3
    assert [len(uids) for uids in seen.values()] == [1]


async def test_throttled_is_tried_again(place: Place, adapter: Adapter) -> None:
    trouble = place.throttled(adapter.created_by)
    async with cluster.operator(place.settings, client=trouble.client):
        obj = await made(place, adapter, adapter.quick(place.ns))
        said = await comes_to(place, adapter, obj, reasons.RETRYING.name)
        assert trouble.says in condition(said, _summary(adapter))["message"]
        assert condition(said, "Reconciling")["status"] == "True"
        assert condition(said, "Stalled") == {}
        trouble.end()
        await comes_to(place, adapter, obj, adapter.done)
    assert trouble.met() > 0


async def test_denied_names_the_missing_permission_and_goes_on_when_it_is_given(place: Place, adapter: Adapter) -> None:
    trouble = place.denied(adapter.created_by, adapter.missing)
    async with cluster.operator(place.settings, client=trouble.client):
        obj = await made(place, adapter, adapter.quick(place.ns))
        said = await comes_to(place, adapter, obj, reasons.DENIED.name)
        assert adapter.missing in condition(said, _summary(adapter))["message"]
        trouble.end()
        forced = {"metadata": {"annotations": {"millrace.dev/reconcile-at": "the role was mended"}}}
        await place.client.patch(adapter.resource, place.ns, obj["metadata"]["name"], forced)
        await comes_to(place, adapter, obj, adapter.done)


async def test_a_thing_that_vanishes_is_made_again(place: Place, adapter: Adapter) -> None:
    async with cluster.operator(place.settings):
        obj = await made(place, adapter, adapter.endless(place.ns))
        await comes_to(place, adapter, obj, adapter.runs)
        first = await adapter.things(place, obj)
        await adapter.vanish(place, obj)

        async def again() -> bool:
            now = await adapter.things(place, obj)
            return bool(set(now.values()) - set(first.values()))

        await eventually(again, "it was made again")


async def test_the_deadline_frees_what_runs(place: Place, adapter: Adapter) -> None:
    manifest = adapter.endless(place.ns)
    if adapter.deadline is None:
        assert "limits" not in KINDS[adapter.resource.kind].kind.spec.model_fields, "a kind with limits has a deadline to test"
        return
    adapter.deadline(manifest)
    async with cluster.operator(place.settings):
        obj = await made(place, adapter, manifest)
        await comes_to(place, adapter, obj, "DeadlineExceeded")
        await freed(place, adapter, obj)


async def test_a_cancelled_object_leaves_nothing_that_runs(place: Place, adapter: Adapter) -> None:
    async with cluster.operator(place.settings):
        obj = await made(place, adapter, adapter.endless(place.ns))
        await comes_to(place, adapter, obj, adapter.runs)
        await place.client.delete(adapter.resource, place.ns, obj["metadata"]["name"])
        await gone(place.client, adapter.resource, place.ns, obj["metadata"]["name"])
        await freed(place, adapter, obj)


async def test_a_suspended_object_leaves_nothing_that_runs(place: Place, adapter: Adapter) -> None:
    async with cluster.operator(place.settings):
        obj = await made(place, adapter, adapter.endless(place.ns))
        await comes_to(place, adapter, obj, adapter.runs)
        await place.client.patch(adapter.resource, place.ns, obj["metadata"]["name"], {"spec": {"suspend": True}})
        await comes_to(place, adapter, obj, "Suspended")
        await freed(place, adapter, obj)


async def freed(place: Place, adapter: Adapter, obj: Object) -> None:
    async def check() -> bool:
        return not await adapter.running(place, obj) and not await pods_of(place, obj)

    await eventually(check, "nothing is left")


def _summary(adapter: Adapter) -> str:
    return KINDS[adapter.resource.kind].kind.summary
