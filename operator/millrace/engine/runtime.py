"""Runs the engine under kopf, the only module that imports it.

kopf watches and delivers; its change handlers, daemons, indices and peering are not used (docs/adr/0002 says what each would
break). What it delivers goes into the cache and wakes keys; a LIST of our own now and then proves that the watch is alive.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import kopf

from millrace.api.common import GROUP
from millrace.aws.cloud import Cloud
from millrace.aws.resolve import ACCOUNTS
from millrace.engine.cache import Cache, Key, key_of, version
from millrace.engine.clock import Clock, SystemClock, moment
from millrace.engine.controller import Controller
from millrace.engine.http import Progress, probes, serve
from millrace.engine.progress import Board, Gate
from millrace.engine.queue import Queue
from millrace.engine.reconcile import Engine, WriteBudget
from millrace.engine.settings import Settings
from millrace.engine.wakes import Wakes
from millrace.kube import labels
from millrace.kube.client import Client, open_session
from millrace.kube.credentials import Credentials
from millrace.kube.errors import ApiError, Forbidden, NotFound
from millrace.kube.leader import Election
from millrace.kube.resources import NAMESPACES, NODES, PODS, Resource, of_kind
from millrace.telemetry.metrics import Metrics

Object = dict[str, Any]
log = logging.getLogger(__name__)

LEASE = "millrace-operator"
LEADER_LABEL = f"{GROUP}/leader"
_STALE_SECONDS = 60.0
_STUCK_SECONDS = 600.0
_KOPF_EXIT_SECONDS = 3.0
_SELECTOR = f"{labels.MANAGED}=true"


class Runtime:
    """One replica: stands for election, watches while it leads, and runs passes."""

    def __init__(
        self,
        controllers: tuple[Controller, ...],
        settings: Settings,
        credentials: Credentials,
        *,
        clock: Clock | None = None,
        client: Client | None = None,
    ) -> None:
        self.settings = settings
        self.controllers = controllers
        self.metrics = Metrics()
        self.clock = clock or SystemClock()
        self.client = client or Client(credentials, on_request=self.metrics.observe_request)
        self.cache = Cache()
        self.board = Board(self.clock.monotonic())
        self.queue = Queue(self.clock)
        by_plural = {c.kind.plural: c for c in controllers}
        self.wakes = Wakes(self.queue, self.cache, by_plural)
        self.cloud = Cloud(
            settings.aws,
            self.metrics,
            self.clock.monotonic,
            wake=self.queue.add,
            wake_by_id=self.wakes.by_id,
            wake_account=lambda namespace, name: self.queue.add(Key(ACCOUNTS, namespace, name)),
            cluster_id=settings.aws.cluster_id,
        )
        self.engine = Engine(
            self.client,
            self.cache,
            self.queue,
            self.board,
            self.clock,
            settings,
            self.metrics,
            by_plural,
            WriteBudget(self.clock, settings.progress_writes_per_second),
            self.cloud,
        )
        self._credentials = credentials
        self._busy_since: dict[int, float] = {}
        self._seen: dict[str, float] = {}
        self._restart_watch: asyncio.Event = asyncio.Event()
        self._stopped = asyncio.Event()
        self._listed_by_kopf: set[str] = set()
        self._gaps: asyncio.Queue[str] = asyncio.Queue()
        self.lost_leadership = False
        self._leading = False
        self.synced = False

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until `stop` is called or leadership is lost; then everything is down and this returns."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.client)
            await self._open_doors(stack)
            async with self._led():
                await self._lead(stack)

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._stopped.set()

    @asynccontextmanager
    async def _led(self) -> AsyncIterator[None]:
        """Wait for leadership (or the end), hold it, give it up."""
        if not self.settings.leader_election:
            yield
            return
        s = self.settings
        election = Election(self.client, s.namespace, LEASE, s.identity, s.lease_seconds, self.clock.monotonic)
        if not await self._unless_stopped(election.acquire()):
            yield
            return
        holding = asyncio.create_task(election.hold())
        holding.add_done_callback(self._lost)
        try:
            await self._label_self()
            yield
        finally:
            holding.cancel()
            await election.release()

    def _lost(self, holding: asyncio.Task[None]) -> None:
        self.lost_leadership = not holding.cancelled()
        self.stop()

    async def _unless_stopped(self, work: Any) -> bool:
        """Run something until it ends (True) or until the replica is asked to stop (False)."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stopped.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        for pending in (task, stop):
            if not pending.done():
                pending.cancel()
        return task.done() and not task.cancelled() and not self._stopped.is_set()

    async def _label_self(self) -> None:
        """The progress Service selects the leader's pod by this label; outside a pod there is nothing to label."""
        try:
            for pod in [p async for p in self.client.list_objects(PODS, self.settings.namespace, labels=f"{LEADER_LABEL}=true")]:
                if pod["metadata"]["name"] != self.settings.identity:
                    await self._set_leader_label(pod["metadata"]["name"], None)
            await self._set_leader_label(self.settings.identity, "true")
        except ApiError as error:
            if error.status != 404:
                log.warning("the leader label was not set: %s", error.message)

    async def _set_leader_label(self, pod: str, value: str | None) -> None:
        body = {"metadata": {"labels": {LEADER_LABEL: value}}}
        await self.client.patch(PODS, self.settings.namespace, pod, body)

    async def _lead(self, stack: AsyncExitStack) -> None:
        if self._stopped.is_set():
            return
        self._leading = True
        self.metrics.leading.set(1)
        await self._open_progress(stack)
        await self._retried(self._find_cluster_id)
        await stack.enter_async_context(self.cloud)
        await self._retried(self._relist_all)
        self.synced = True
        workers = [asyncio.create_task(self._work(n)) for n in range(self.settings.workers)]
        duties = (self._watch(), self._resync(), self._close_gaps(), self._measure())
        others = [asyncio.create_task(duty) for duty in duties]
        try:
            await self._until_stopped([*workers, *others])
        finally:
            for task in (*workers, *others):
                task.cancel()
            await asyncio.gather(*workers, *others, return_exceptions=True)

    async def _find_cluster_id(self) -> None:
        """Stands in external ids. Without the right to read it, it must be in the settings; who needs it says so."""
        if self.cloud.cluster_id:
            return
        try:
            self.cloud.cluster_id = (await self.client.get(NAMESPACES, None, "kube-system"))["metadata"]["uid"]
        except (Forbidden, NotFound) as error:
            log.info("the cluster's id is not known, roles of AWS cannot be assumed: %s", error.message)

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        """A background task that ends by itself is a defect: end the replica so that it starts afresh."""
        stop = asyncio.create_task(self._stopped.wait())
        done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            task.result()
            raise RuntimeError("a background task of the operator ended by itself")
        stop.cancel()

    # -- doors -----------------------------------------------------------------------------------------------------

    async def _open_doors(self, stack: AsyncExitStack) -> None:
        if self.settings.http_port:
            await serve(stack, probes(self._alive, self._ready, self._exposition), self.settings.http_port)

    async def _open_progress(self, stack: AsyncExitStack) -> None:
        if not self.settings.progress_port:
            return
        gate = Gate(self.client, self.cache, self.clock)
        plural_of = {c.kind.name: c.kind.plural for c in self.controllers}
        door = Progress(gate, self.board, self.cache, self.clock, self.metrics, self.queue.add, plural_of, self._push_interval)
        await serve(stack, door.app(), self.settings.progress_port)

    def _push_interval(self) -> float:
        """Stretched so that all senders together stay within what may be written."""
        senders = len(self.board.pushes)
        return max(self.settings.progress_interval_seconds, senders / self.settings.progress_writes_per_second)

    def _alive(self) -> str:
        """Wrong only when all workers have stood still: neither an idle cluster nor an API outage is our illness."""
        now = self.clock.monotonic()
        stuck = [since for since in self._busy_since.values() if now - since > _STUCK_SECONDS]
        return f"all {len(stuck)} workers stand still" if stuck and len(stuck) >= self.settings.workers else ""

    def _ready(self) -> str:
        return "" if self.synced or not self._leading else "the first listing is not done"

    def _exposition(self) -> bytes:
        self.metrics.queue_depth.set(self.queue.depth)
        self.metrics.queue_age.set(self.queue.oldest_seconds)
        self.metrics.cached.set(len(self.cache))
        return self.metrics.text()

    # -- passes ----------------------------------------------------------------------------------------------------

    async def _work(self, number: int) -> None:
        while True:
            key = await self.queue.get()
            self._busy_since[number] = self.clock.monotonic()
            try:
                await self.engine.run(key)
            finally:
                self._busy_since.pop(number, None)
                self.queue.done(key)

    # -- watching --------------------------------------------------------------------------------------------------

    def _watched(self) -> dict[Resource, Callable[[Object], None]]:
        """What is watched, and what an object of it wakes."""
        watched: dict[Resource, Callable[[Object], None]] = {}
        for controller in self.controllers:
            for child in controller.children:
                watched[child] = self._wake_owner
        for controller in self.controllers:
            watched[of_kind(controller.kind)] = self._wake_self
        if any(c.watches_nodes for c in self.controllers) and not self.settings.watch_namespaces:
            watched[NODES] = self._wake_by_node
        return watched

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        for resource, wake in self._watched().items():
            handler = self._handler(resource, wake)
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=f"watch-{resource.plural}")(
                handler
            )
        return registry

    def _handler(self, resource: Resource, wake: Callable[[Object], None]) -> Any:
        plural = resource.plural
        counter = self.metrics.watch_events.labels(plural)

        async def deliver(event: Any, **_: Any) -> None:
            self._seen[plural] = self.clock.monotonic()
            counter.inc()
            self._deliver(plural, event["type"], dict(event["object"]), wake)

        return deliver

    def _deliver(self, plural: str, type_: str | None, obj: Object, wake: Callable[[Object], None]) -> None:
        """An echo of our own write wakes nobody but the objects that refer to this one: their passes have not seen it."""
        if type_ == "DELETED":
            self.cache.remove(plural, obj)
        elif not self.cache.put(plural, obj):
            key = key_of(plural, obj)
            if plural in self.engine.controllers:
                self.wakes.seen(key, obj)
            self.wakes.referrers(key, obj)
            return
        wake(obj)

    def _wake_self(self, obj: Object) -> None:
        plural = next(c.kind.plural for c in self.controllers if c.kind.name == obj["kind"])
        self.wakes.changed(key_of(plural, obj), obj)

    def _wake_owner(self, obj: Object) -> None:
        marks = obj["metadata"].get("labels") or {}
        for controller in self.controllers:
            if controller.kind.name == marks.get(labels.KIND):
                self.queue.add(Key(controller.kind.plural, obj["metadata"]["namespace"], marks[labels.NAME]))

    def _wake_by_node(self, node: Object) -> None:
        """Nodes report often; only objects with a pod on one that is gone, or whose state concerns their kind, are woken."""
        gone = self.cache.get(key_of(NODES.plural, node)) is None
        for controller in self.controllers:
            if controller.watches_nodes and (gone or controller.wake_on_node(node)):
                for pod in self.cache.all(PODS.plural):
                    if (pod.get("spec") or {}).get("nodeName") == node["metadata"]["name"]:
                        self._wake_owner(pod)

    async def _watch(self) -> None:
        """Run kopf until cancelled; run it anew when a resync found a dead stream.

        kopf takes the signals of a main thread for itself and ends on one: its end is ours.
        """
        while True:
            self._restart_watch.clear()
            running = asyncio.create_task(self._run_kopf())
            asked = asyncio.create_task(self._restart_watch.wait())
            try:
                await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    self.stop()
                    return
            finally:
                await _ended({running, asked})

    async def _run_kopf(self) -> None:
        """kopf's own `operator()` cancels every task of the event loop at its end, ours included; so its tasks are run here."""
        namespaces = self.settings.watch_namespaces
        tasks = await kopf.spawn_tasks(
            # Named, because kopf would else ask for the user's name, and a container's user id has none.
            identity=self.settings.identity,  # type: ignore[arg-type]
            registry=self._with_login(self._registry()),
            settings=self._kopf_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _ended(tasks)

    def _with_login(self, registry: kopf.OperatorRegistry) -> kopf.OperatorRegistry:
        async def login(**_: Any) -> kopf.AiohttpSession:
            session = open_session(self._credentials, on_request=self._kopf_asks)
            return kopf.AiohttpSession(server=self._credentials.server, aiohttp_session=session)

        kopf.on.login(registry=registry, id="millrace-login")(login)
        return registry

    def _kopf_asks(self, path: str, watching: bool) -> None:
        """A watch that follows a listing of kopf's: what was deleted before that listing, nobody told us of. List it too."""
        plural = path.rsplit("/", 1)[-1]
        if not watching:
            self._listed_by_kopf.add(plural)
        elif plural in self._listed_by_kopf:
            self._listed_by_kopf.discard(plural)
            self._gaps.put_nowait(plural)

    async def _close_gaps(self) -> None:
        while True:
            plural = await self._gaps.get()
            for resource, wake in self._watched().items():
                if resource.plural == plural:
                    await self._retried(lambda: self._relist(resource, wake))  # noqa: B023  awaited in the same turn

    async def _retried(self, work: Callable[[], Awaitable[object]]) -> None:
        """Until it goes well: the API server may be away for a while."""
        while True:
            try:
                await work()
                return
            except ApiError as error:
                log.warning("a listing failed and is repeated: %s", error.message)
                await asyncio.sleep(2)

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.process.ultimate_exiting_timeout = None
        settings.persistence.finalizer = f"{GROUP}/kopf"
        settings.persistence.diffbase_storage = _NoDiffs()
        settings.persistence.progress_storage = _NoProgress()
        settings.watching.chunk_size = 500
        settings.watching.server_timeout = 300
        settings.networking.request_timeout = 60
        settings.execution.max_workers = 1
        for resource in self._watched():
            if resource != NODES and not any(of_kind(c.kind) == resource for c in self.controllers):
                settings.watching.label_selectors[resource.group, resource.version, resource.plural] = _SELECTOR
        return settings

    # -- resync ----------------------------------------------------------------------------------------------------

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self.settings.resync_seconds * random.uniform(0.8, 1.0))
            try:
                await self._relist_all()
            except ApiError as error:
                log.warning("the resync failed and is repeated: %s", error.message)

    async def _relist_all(self) -> None:
        for resource, wake in self._watched().items():
            if missed := await self._relist(resource, wake):
                self._judge(resource, missed)

    async def _relist(self, resource: Resource, wake: Callable[[Object], None]) -> float:
        """LIST into the cache; gives the greatest age in seconds of a change that the watch had not delivered."""
        own = any(of_kind(c.kind) == resource for c in self.controllers)
        selector = "" if own or resource == NODES else _SELECTOR
        began = time.time()
        held = max((version(o) for o in self.cache.all(resource.plural)), default=0)
        listed = [o for ns in self.settings.watch_namespaces or (None,) async for o in self._listed(resource, ns, selector)]
        changed, gone = self.cache.replace(resource.plural, listed, held)
        for obj in changed:
            wake(obj)
        for obj in gone:
            wake(obj)
        return max((began - _last_change(o) for o in changed), default=0.0) if self.synced else 0.0

    def _listed(self, resource: Resource, namespace: str | None, selector: str) -> AsyncIterator[Object]:
        return self.client.list_objects(resource, namespace, labels=selector)

    def _judge(self, resource: Resource, missed_seconds: float) -> None:
        if missed_seconds > _STALE_SECONDS:
            log.error("the watch of %s missed a change %.0f s old: it is restarted", resource.plural, missed_seconds)
            self.metrics.stale_watches.inc()
            self._restart_watch.set()

    async def _measure(self) -> None:
        while True:
            for controller in self.controllers:
                counts: dict[str, int] = {}
                for obj in self.cache.all(controller.kind.plural):
                    state = _summary(obj, controller.kind.summary)
                    counts[state] = counts.get(state, 0) + 1
                for state in ("True", "False", "Unknown"):
                    self.metrics.objects.labels(controller.kind.name, state).set(counts.get(state, 0))
            await asyncio.sleep(15)


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf copies every object that it delivers, deep and several times, to find a difference that no handler here asks for."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return


class _NoProgress(kopf.ProgressStorage):
    """Handlers of events keep no progress: there is none to find, store or clear."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return

    def purge(self, **_: Any) -> None:
        return

    def touch(self, **_: Any) -> None:
        return

    def clear(self, *, essence: Any) -> Any:
        return essence


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel and wait, but no more than a few seconds: what kopf still holds is worth no more."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_KOPF_EXIT_SECONDS)


def _summary(obj: Object, type_: str) -> str:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition["type"] == type_:
            return str(condition["status"])
    return "Unknown"


def _last_change(obj: Object) -> float:
    """When an object was last written, by its managed fields; now where they do not say."""
    times = [m["time"] for m in obj["metadata"].get("managedFields") or () if m.get("time")]
    return moment(max(times)).timestamp() if times else time.time()
