"""A small asynchronous client of the Kubernetes API, over aiohttp.

docs/adr/0001 has the measurement that chose it: the official typed client spends more time on making objects than the API server
does on storing them. Objects are plain dictionaries here; what we own is typed elsewhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

import aiohttp

from millrace.kube.credentials import Credentials
from millrace.kube.errors import ApiError, NotFound, Unavailable, from_answer
from millrace.kube.resources import Resource

Object = dict[str, Any]
FIELD_MANAGER = "millrace"
_PAGE = 500

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Client:
    """Talks to one API server. Every call raises :class:`ApiError` (its subclasses) and nothing else of the network's.

    `on_request` is told (verb, resource plural, status, seconds) of each call, for metrics.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout_seconds: float = 30.0,
        connections: int = 64,
        on_request: Callable[[str, str, int, float], None] | None = None,
    ) -> None:
        self.credentials = credentials
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._connections = connections
        self._on_request = on_request
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = open_session(self.credentials, connections=self._connections, timeout=self._timeout)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- reading ---------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises NotFound."""
        return await self._call("get", resource, "GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object, or None where it does not exist."""
        try:
            return await self.get(resource, namespace, name)
        except NotFound:
            return None

    async def list_objects(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Object]:
        """All objects that match the selectors, read page by page; apiVersion and kind are filled in."""
        parameters = {"limit": str(_PAGE), "labelSelector": labels, "fieldSelector": fields}
        while True:
            page = await self._call("list", resource, "GET", resource.path(namespace), parameters=parameters)
            for item in page["items"]:
                yield {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            following = page["metadata"].get("continue")
            if not following:
                return
            parameters["continue"] = following

    async def logs(
        self, namespace: str, pod: str, container: str, *, lines: int = 50, follow: bool = False
    ) -> AsyncIterator[str]:
        """Lines of a container's log; with `follow` until it ends."""
        parameters = {"container": container, "tailLines": str(lines), "follow": str(follow).lower()}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        async for line in self.lines("GET", path, None, **parameters):
            yield line

    async def lines(self, method: str, path: str, body: Object | None = None, **parameters: str) -> AsyncIterator[str]:
        """Lines of an answer as they come, for as long as they do."""
        unbounded = aiohttp.ClientTimeout(total=None, sock_connect=30)
        async with self._open(method, path, body, parameters=parameters, timeout=unbounded) as answer:
            if answer.status >= 400:
                raise from_answer(answer.status, await _body(answer), answer.headers.get("Retry-After"))
            async for line in answer.content:
                yield line.decode(errors="replace").rstrip("\r\n")

    # -- writing ---------------------------------------------------------------------------------------------------

    async def create(self, resource: Resource, manifest: Object) -> Object:
        """POST. Raises AlreadyExists; for children that never change."""
        path = resource.path(manifest["metadata"].get("namespace"))
        return await self._call("create", resource, "POST", path, manifest, parameters={"fieldManager": FIELD_MANAGER})

    async def apply(self, resource: Resource, manifest: Object) -> Object:
        """Server-side apply as the field manager `millrace`; for children that may change later."""
        path = resource.path(manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call("apply", resource, "PATCH", path, manifest, parameters=parameters, content=APPLY_PATCH)

    async def patch_status(self, resource: Resource, namespace: str, name: str, uid: str, status: Object) -> Object:
        """Merge-patch the status subresource of exactly this object: another uid is a Conflict."""
        body = {"metadata": {"uid": uid}, "status": status}
        path = resource.path(namespace, name, "status")
        return await self._call("patch_status", resource, "PATCH", path, body, content=MERGE_PATCH)

    async def patch(self, resource: Resource, namespace: str | None, name: str, body: Object | list[Object]) -> Object:
        """Merge-patch (an object) or JSON-patch (a list)."""
        content = JSON_PATCH if isinstance(body, list) else MERGE_PATCH
        return await self._call("patch", resource, "PATCH", resource.path(namespace, name), body, content=content)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace: int | None = None,
        children_first: bool = False,
    ) -> None:
        """Delete; gone already is success. With `uid` only that very object. Its children go after it, or else before it."""
        options: Object = {"propagationPolicy": "Foreground" if children_first else "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self._call("delete", resource, "DELETE", resource.path(namespace, name), options)
        except NotFound:
            return

    async def raw(self, method: str, path: str, body: Object | None = None, **parameters: str) -> Object:
        """Any other call, by path."""
        async with self._open(method, path, body, parameters=parameters) as answer:
            return await _checked(answer)

    # -- the one place that talks ------------------------------------------------------------------------------------

    async def _call(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        *,
        parameters: dict[str, str] | None = None,
        content: str = "application/json",
    ) -> Object:
        begun = time.monotonic()
        status = 0
        try:
            async with self._open(method, path, body, parameters=parameters, content=content) as answer:
                status = answer.status
                return await _checked(answer)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(0, "Unreachable", f"the API server did not answer: {error or type(error).__name__}") from error
        finally:
            if self._on_request is not None:
                self._on_request(verb, resource.plural, status, time.monotonic() - begun)

    def _open(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        *,
        parameters: dict[str, str] | None = None,
        content: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> Any:
        if self._session is None:
            raise ApiError(0, "NotOpen", "the client is used outside its `async with`")
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content
        return self._session.request(
            method,
            self.credentials.server + path,
            params={k: v for k, v in (parameters or {}).items() if v},
            data=None if body is None else json.dumps(body, separators=(",", ":")),
            headers=headers,
            timeout=timeout or self._timeout,
        )


def open_session(
    credentials: Credentials,
    *,
    connections: int = 0,
    timeout: aiohttp.ClientTimeout | None = None,
    on_request: Callable[[str, bool], None] = lambda _path, _watching: None,
) -> aiohttp.ClientSession:
    """An HTTP session that sends the current bearer token with each request: mounted tokens are renewed under our feet.

    `on_request` is told the path of each request and whether it is a watch.
    """

    async def authorize(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if token := credentials.token():
            request.headers["Authorization"] = f"Bearer {token}"
        on_request(request.url.path, "watch" in request.url.query)
        return await send(request)

    connector = aiohttp.TCPConnector(limit=connections, ssl=credentials.tls)
    kwargs: dict[str, Any] = {"timeout": timeout} if timeout else {}
    return aiohttp.ClientSession(connector=connector, middlewares=(authorize,), **kwargs)


async def _checked(answer: aiohttp.ClientResponse) -> Object:
    if answer.status >= 400:
        raise from_answer(answer.status, await _body(answer), answer.headers.get("Retry-After"))
    return await _body(answer)


async def _body(answer: aiohttp.ClientResponse) -> Object:
    text = await answer.text()
    try:
        parsed = json.loads(text)
    except ValueError:
        return {"message": text[:1000]}
    return parsed if isinstance(parsed, dict) else {"items": parsed}
