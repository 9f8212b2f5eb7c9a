"""The admin API, below /_millrace/. JSON in, JSON out; errors are {"error": why} with 400 or 404."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from millrace_local_aws.world import World

Body = dict[str, Any]
Route = Callable[["World", Body], Any]
ROUTES: dict[tuple[str, str], Route] = {}


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Register an admin call; services add their own."""

    def register(function: Route) -> Route:
        ROUTES[method, path] = function
        return function

    return register


async def handle(world: World, request: web.Request) -> web.Response:
    """One admin call."""
    path = request.path.removeprefix("/_millrace/")
    found = ROUTES.get((request.method, path))
    if found is None:
        return web.json_response({"error": f"no admin call {request.method} {path}"}, status=404)
    try:
        raw = await request.read()
        body = json.loads(raw) if raw else dict(request.query)
        answer = found(world, body)
        if inspect.isawaitable(answer):
            answer = await answer
    except (ValueError, TypeError, KeyError, LookupError) as error:
        return web.json_response({"error": str(error)}, status=400)
    world.store.commit()
    return web.json_response(answer if answer is not None else {})


@route("GET", "health")
def health(world: World, body: Body) -> Any:
    return {"status": "ready", "services": sorted(world.services)}


@route("GET", "clock")
def clock(world: World, body: Body) -> Any:
    return {"now": world.clock.now(), "wall": world.clock.wall(), "speed": world.clock.speed}


@route("POST", "clock/step")
async def step(world: World, body: Body) -> Any:
    await world.scheduler.advance(float(body["seconds"]))
    world.sqs.wake_all()
    return clock(world, {})


@route("POST", "clock/speed")
def speed(world: World, body: Body) -> Any:
    world.clock.set_speed(float(body["speed"]))
    world.scheduler.wake()
    return clock(world, {})


@route("GET", "counters")
def counters(world: World, body: Body) -> Any:
    return world.counters.document()


@route("DELETE", "counters")
def reset_counters(world: World, body: Body) -> Any:
    world.counters.reset()


@route("GET", "faults")
def faults(world: World, body: Body) -> Any:
    return [fault.document() for fault in world.faults.all()]


@route("POST", "faults")
def add_fault(world: World, body: Body) -> Any:
    return world.faults.add(**body).document()


@route("DELETE", "faults")
def remove_faults(world: World, body: Body) -> Any:
    if "id" not in body:
        world.faults.clear()
    elif not world.faults.remove(body["id"]):
        raise LookupError(f"no fault {body['id']}")


@route("GET", "settings")
def settings(world: World, body: Body) -> Any:
    chosen = world.settings
    return {"enforce_iam": chosen.enforce_iam, "durations": chosen.durations, "pace": chosen.pace, "runner": chosen.runner}


@route("POST", "settings")
def change_settings(world: World, body: Body) -> Any:
    if "enforce_iam" in body:
        world.settings.enforce_iam = bool(body["enforce_iam"])
    world.settings.durations |= body.get("durations", {})
    world.settings.pace = float(body.get("pace", world.settings.pace))
    return settings(world, {})


@route("GET", "state")
def state(world: World, body: Body) -> Any:
    """All records of all tables, or of the table `kind`; secrets left out."""
    hidden = {"iam.access-key", "sts.session", "timer", "clock"}
    tables = {name: table for name, table in world.store.tables().items() if name not in hidden}
    wanted = [body["kind"]] if "kind" in body else sorted(tables)
    return {
        name: [{"scope": scope, "key": key, "record": record} for scope, key, record in world.store.table(name).everything()]
        for name in wanted
        if name not in hidden
    }


@route("POST", "sessions/expire")
def expire_sessions(world: World, body: Body) -> Any:
    """Every temporary credential, or those of one role, is over now."""
    table = world.store.table("sts.session")
    for scope, key, record in table.everything():
        if body.get("role") in (None, record["role"]):
            table.put(scope, key, record | {"expires": world.clock.wall()})
