"""A runner in a cluster: one Job a training attempt, one Deployment an endpoint variant, made with our service account.

Options are those of `manifests.Placement`, and `api`, `token_file`, `ca_file` where they are not a pod's own. What runs is found
again by label after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from millrace_local_aws.dataplane import manifests
from millrace_local_aws.dataplane.manifests import LABEL, MAIN, TASK, Placement, name_of
from millrace_local_aws.dataplane.runner import UNHEALTHY, Answer, Ended, EndpointTask, Runner, TrainingTask

if TYPE_CHECKING:
    from millrace_local_aws.world import World

LOG = logging.getLogger(__name__)
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 1.0
LAST_LINES_SECONDS = 5.0
_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
Pod = dict[str, Any]


class Api:
    """As much of the Kubernetes API as is needed here."""

    def __init__(self, base: str, token_file: Path, ca_file: Path) -> None:
        self._base, self._token = base.rstrip("/"), token_file
        self._tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file.exists() else None
        self._session: aiohttp.ClientSession | None = None

    def http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        return self._session

    def request(self, method: str, path: str, **options: Any) -> Any:
        # Projected tokens change: read it each time.
        headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"} if self._token.exists() else {}
        return self.http().request(method, self._base + path, headers=headers, ssl=self._tls or True, **options)

    async def call(self, method: str, path: str, body: Any = None, good: tuple[int, ...] = ()) -> Any:
        """The answer's JSON. Raises ConnectionError where the status is neither 2xx nor expected."""
        async with self.request(method, path, json=body) as answer:
            found = await answer.json(content_type=None)
            if answer.status >= 300 and answer.status not in good:
                raise ConnectionError(f"{method} {path}: {answer.status} {found}")
            return found

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Kubernetes(Runner):
    """Looks at all its pods with one list, twice a second."""

    def __init__(self, world: World, **options: Any) -> None:
        self._world = world
        api = options.pop("api", "https://kubernetes.default.svc")
        token_file, ca_file = options.pop("token_file", ""), options.pop("ca_file", "")
        namespace = options.pop("namespace", "") or (ACCOUNT / "namespace").read_text().strip()
        self._place = Placement(namespace=namespace, **options)
        self._api = Api(api, Path(token_file or ACCOUNT / "token"), Path(ca_file or ACCOUNT / "ca.crt"))
        self._training: dict[str, Followed] = {}
        self._serving: dict[str, Followed] = {}
        self._work: set[asyncio.Task[None]] = set()
        world.data_plane = self
        self._spawn(self._look_forever())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def _path(self, group: str, kind: str, name: str = "") -> str:
        return f"/{group}/namespaces/{self._place.namespace}/{kind}" + (f"/{name}" if name else "")

    async def _create(self, group: str, kind: str, manifest: dict[str, Any]) -> None:
        """What is there already is ours: names are made of task ids."""
        await self._until_done("POST", self._path(group, kind), manifest, good=(409,))

    async def _delete(self, group: str, kind: str, name: str) -> None:
        await self._until_done("DELETE", self._path(group, kind, name) + "?propagationPolicy=Background", good=(404,))

    async def _until_done(self, method: str, path: str, body: Any = None, *, good: tuple[int, ...]) -> None:
        while True:
            try:
                await self._api.call(method, path, body, good)
                return
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                LOG.warning("%s", error)
                await asyncio.sleep(AGAIN_SECONDS)

    # Training

    def start_training(self, task: TrainingTask) -> None:
        self._training[task.id] = Followed()
        self._spawn(self._create("apis/batch/v1", "jobs", manifests.training(self._place, task)))

    def stop_training(self, task: str, *, kill: bool = False) -> None:
        if task in self._training:
            self._training[task].signal = "SIGKILL" if kill else "SIGTERM"

    def knows(self, task: str) -> bool:
        """Asked after a restart: the next look tells whether it is still there."""
        self._training.setdefault(task, Followed(adopted=True))
        return True

    def told(self, task: str) -> dict[str, Any]:
        """What the container beside asks for."""
        found = self._training.get(task)
        if found is None:
            return {"ended": True, "signal": None}
        return {"ended": found.exit_code is not None, "signal": found.signal}

    def stored(self, task: str, failure: str | None) -> None:
        """All files of an ended task are in S3."""
        found = self._training.get(task)
        if found is not None and not found.stored:
            found.stored = True
            self._spawn(self._ended(task, found, failure))

    async def _ended(self, task: str, found: Followed, failure: str | None) -> None:
        """The metrics are in the log: its last lines may be on their way."""
        if found.log is not None:
            await asyncio.wait({found.log}, timeout=LAST_LINES_SECONDS)
        self._training.pop(task, None)
        self._world.reports.training_ended(task, Ended(found.exit_code or 0, failure))
        self._world.store.commit()

    def _lost(self, task: str, why: str | None = None) -> None:
        self._training.pop(task, None)
        self._world.reports.training_ended(task, Ended(1, why, lost=why is None))
        self._spawn(self._delete("apis/batch/v1", "jobs", name_of(task)))

    # Looking

    async def _look_forever(self) -> None:
        while True:
            try:
                listed = await self._api.call("GET", self._path("api/v1", "pods") + f"?labelSelector={LABEL}%3Ddata-plane")
                self._look(_by_task(listed["items"]))
                self._world.store.commit()
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                LOG.warning("cannot list pods: %s", error)
            except Exception as error:
                LOG.exception("looking at pods broke")
                self._world.counters.fault("data-plane", repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self, pods: dict[str, Pod]) -> None:
        for task, followed in list(self._training.items()):
            pod = pods.get(task)
            if pod is not None:
                followed.found = True
                self._look_at_training(task, followed, pod)
            elif followed.found or followed.adopted:
                self._lost(task)
        for task, followed in list(self._serving.items()):
            self._look_at_serving(task, followed, pods.get(task))
        for task in pods.keys() - self._serving.keys():
            self._look_at_unknown(task, pods[task])

    def _look_at_unknown(self, task: str, pod: Pod) -> None:
        """An endpoint that was deleted while we were not there to hear of it."""
        if _is_endpoint(task) and not _is_going(pod):
            self._spawn(self._delete("apis/apps/v1", "deployments", name_of(task)))

    def _follow(self, task: str, followed: Followed, pod: Pod) -> None:
        """The log of each container that has begun, also of one that was started again."""
        status = _status(pod, MAIN)
        which = (pod["metadata"]["name"], status.get("restartCount", 0))
        if which != followed.logged and status.get("state", {}).keys() & {"running", "terminated"}:
            followed.logged = which
            followed.log = self._spawn(self._log(task, pod["metadata"]["name"]))

    def _look_at_training(self, task: str, followed: Followed, pod: Pod) -> None:
        self._follow(task, followed, pod)
        main = _status(pod, MAIN).get("state", {})
        if _no_image(pod):
            self._lost(task, f"Cannot pull image: {_no_image(pod)}")
        elif "terminated" in main and followed.exit_code is None:
            followed.exit_code = int(main["terminated"]["exitCode"])
        elif pod["status"].get("phase") in ("Succeeded", "Failed") and not followed.stored:
            # The container beside would have reported before it ended.
            self._lost(task)

    def _look_at_serving(self, task: str, followed: Followed, pod: Pod | None) -> None:
        followed.address = _address(pod) if pod is not None else ""
        if pod is None:
            return
        self._follow(task, followed, pod)
        if followed.address and not followed.ready:
            followed.ready = True
            self._world.reports.endpoint_ready(task)
        elif not followed.ready and (why := _no_image(pod)):
            self._world.reports.endpoint_failed(task, f"Cannot pull image: {why}")
        elif not followed.ready and (said := _end_of(pod)) is not None:
            self._world.reports.log(task, said)
            self._world.reports.endpoint_failed(task, UNHEALTHY.format(variant=task.rpartition("/")[2]))

    async def _log(self, task: str, pod: str) -> None:
        path = self._path("api/v1", "pods", pod) + f"/log?container={MAIN}&follow=true"
        try:
            async with self._api.request("GET", path) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    self._world.reports.log(task, [line.decode(errors="replace").rstrip("\n")])
                    self._world.store.commit()
        except (aiohttp.ClientError, ValueError) as error:
            LOG.warning("the log of %s broke off: %s", pod, error)

    # Serving

    def start_endpoint(self, task: EndpointTask) -> None:
        if task.id not in self._serving:
            made = self._spawn(self._create("apis/apps/v1", "deployments", manifests.serving(self._place, task)))
            self._serving[task.id] = Followed(made=made)

    def stop_endpoint(self, task: str) -> None:
        followed = self._serving.pop(task, None)
        if followed is not None:
            self._spawn(self._undo(task, followed))

    async def _undo(self, task: str, followed: Followed) -> None:
        """After what may be under way: a Deployment that is made behind its deletion would stay."""
        if followed.made is not None:
            await asyncio.wait({followed.made})
        await self._delete("apis/apps/v1", "deployments", name_of(task))

    async def invoke(self, task: str, body: bytes, headers: Mapping[str, str], path: str = "/invocations") -> Answer:
        followed = self._serving.get(task)
        if followed is None or not followed.address:
            raise ConnectionError("no container is ready")
        try:
            answer = await self._api.http().post(f"http://{followed.address}:8080{path}", data=body, headers=dict(headers))
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error
        return Answer(answer.status, dict(answer.headers), _chunks(answer))

    async def close(self) -> None:
        """What runs in the cluster goes on: a restarted local AWS finds it again."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._api.close()


class Followed:
    """What is known of a task."""

    def __init__(self, *, adopted: bool = False, made: asyncio.Task[None] | None = None) -> None:
        self.adopted = adopted
        self.made = made
        self.found = False
        self.logged: tuple[str, int] | None = None
        self.log: asyncio.Task[None] | None = None
        self.stored = False
        self.ready = False
        self.address = ""
        self.signal: str | None = None
        self.exit_code: int | None = None


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error)) from error
    finally:
        answer.release()


def _statuses(pod: Pod) -> list[dict[str, Any]]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _status(pod: Pod, name: str) -> dict[str, Any]:
    """Of a container by its name; {} before there is one."""
    return next((one for one in _statuses(pod) if one["name"] == name), {})


def _by_task(pods: list[Pod]) -> dict[str, Pod]:
    """Of two pods of one task the one that stays."""
    return {pod["metadata"]["annotations"][TASK]: pod for pod in sorted(pods, key=_is_going, reverse=True)}


def _is_going(pod: Pod) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _is_endpoint(task: str) -> bool:
    return task.count("/") == 4


def _address(pod: Pod) -> str:
    """Where it answers; "" while it does not."""
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
    return str(pod["status"].get("podIP", "")) if ready and not _is_going(pod) else ""


def _end_of(pod: Pod) -> list[str] | None:
    """What is said of a container that has ended and is started again: one that could not be started at all has no log."""
    ends = [one["lastState"]["terminated"] for one in _statuses(pod) if "terminated" in one.get("lastState", {})]
    return [str(end["message"]) for end in ends if end.get("message")] if ends else None


def _no_image(pod: Pod) -> str:
    """Why an image cannot be had, or nothing."""
    waiting = [one["state"].get("waiting", {}) for one in _statuses(pod)]
    return next((str(one.get("message", one["reason"])) for one in waiting if one.get("reason") in _NO_IMAGE), "")
