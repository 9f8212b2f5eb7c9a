"""The HTTP side: routes, server-sent events, errors, access log and metrics around the engine."""

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from millrace_serve import invocations
from millrace_serve.answers import Choice, Look, Shape, event
from millrace_serve.engine import Engine, EngineError
from millrace_serve.gate import Gate
from millrace_serve.generation import Work, prepare, stream_of
from millrace_serve.life import Life, State
from millrace_serve.log import say
from millrace_serve.metrics import Metrics
from millrace_serve.problems import ApiError
from millrace_serve.requests import read_chat, read_completion
from millrace_serve.settings import Settings

MAX_BODY = 4 << 20  # bytes
CLIENT_GONE = 499  # nginx's number for a client that closed the connection
REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """One model's endpoint. `engine` is None while it loads."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.engine = settings, None
        self.life, self.metrics = Life(), Metrics()
        parameters = settings.parameters
        self.gate = Gate(parameters.concurrency, parameters.maxQueue)
        self._created = int(time.time())
        self._set_gauges()

    engine: Engine | None

    def app(self) -> web.Application:
        """The application for aiohttp."""
        app = web.Application(middlewares=[self._around], client_max_size=MAX_BODY)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/ping", self._ready)
        app.router.add_post(invocations.PATH, self._invocations)
        return app

    def _set_gauges(self) -> None:
        self.metrics.running.set_function(lambda: self.gate.running)
        self.metrics.waiting.set_function(lambda: self.gate.waiting)
        self.metrics.batch_size.set_function(lambda: self.engine.batch_size() if self.engine else 0)
        self.metrics.ready.set_function(lambda: self.life.state is State.READY)

    # What the kubelet and Prometheus ask

    async def _health(self, _: web.Request) -> web.Response:
        alive = self.engine is None or self.engine.alive()
        return web.json_response({"status": "ok" if alive else "the engine stands still"}, status=200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self.life.state is State.READY and self.engine is not None and self.engine.alive()
        return web.json_response({"status": self.life.state.value}, status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    # What clients ask

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._entry()]})

    async def _model(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != self.settings.model_name:
            raise ApiError(404, f"the model {request.match_info['name']!r} does not exist here", code="model_not_found")
        return web.json_response(self._entry())

    def _entry(self) -> dict[str, object]:
        named = {"id": self.settings.model_name, "object": "model", "created": self._created, "owned_by": "millrace"}
        context = {"context_length": self.engine.context} if self.engine else {}
        return {**named, "digest": self.settings.model_digest, **context}

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        asked = read_completion(body, self.settings.model_name, self.settings.parameters.maxTokens)
        engine = self._engine()
        work = await prepare(engine, asked.common, "prompt", asked.prompts, echo=asked.echo)
        return await self._answer(request, engine, work, self._shape(request, work, chat=False))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        asked = read_chat(body, self.settings.model_name, self.settings.parameters.maxTokens)
        engine = self._engine()
        prompt = await engine.chat(asked.messages)
        work = await prepare(engine, asked.common, "messages", [prompt.text], stops=prompt.stops)
        return await self._answer(request, engine, work, self._shape(request, work, chat=True))

    async def _invocations(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        asked = invocations.read_generation(body, self.settings.parameters.maxTokens)
        engine = self._engine()
        prompt = asked.fitted(await engine.encode(asked.inputs), engine.context)
        work = await prepare(engine, asked.common, "inputs", [prompt])
        return await self._answer(request, engine, work, invocations.GeneratedShape(asked))

    async def _body(self, request: web.Request) -> object:
        try:
            return json.loads(await request.read())
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}") from error

    def _engine(self) -> Engine:
        if self.engine is None:
            raise ApiError(503, "the model is being loaded: try again later", code="loading", wait=1)
        return self.engine

    # Answers

    def _shape(self, request: web.Request, work: Work, *, chat: bool) -> Shape:
        name, fingerprint = self.settings.model_name, self.settings.model_digest.removeprefix("sha256:")[:12]
        return Shape(f"{'chatcmpl' if chat else 'cmpl'}-{request['id']}", name, chat, fingerprint, work.request.include_usage)

    async def _answer(self, request: web.Request, engine: Engine, work: Work, look: Look) -> web.StreamResponse:
        choices = work.choices()
        deadline = asyncio.get_running_loop().time() + self.settings.parameters.requestTimeoutSeconds
        try:
            async with self.gate.place(deadline):
                if work.request.stream:
                    return await self._stream(request, self._events(request, engine, work, choices, look), deadline)
                async with asyncio.timeout_at(deadline):
                    await self._collect(request, engine, work, choices)
                return web.json_response(look.whole(choices, work.prompt_tokens))
        finally:
            self._count(request, work, choices)

    async def _collect(self, request: web.Request, engine: Engine, work: Work, choices: list[Choice]) -> None:
        async with aclosing(stream_of(engine, work, choices)) as parts:
            async for part in parts:
                self._seen(request)
                part.choice.text += part.text

    async def _stream(self, request: web.Request, events: AsyncGenerator[bytes, None], deadline: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"})
        self._dress(request, response)
        await response.prepare(request)
        try:
            async with asyncio.timeout_at(deadline), aclosing(events):
                async for part in events:
                    await response.write(part)
        except (EngineError, TimeoutError) as error:
            # The status line is gone; OpenAI's clients raise on an event with an error in it.
            status, body = _said(request, _failure(error))
            request["failed"] = status
            await response.write(event(body))
        return response

    async def _events(
        self, request: web.Request, engine: Engine, work: Work, choices: list[Choice], look: Look
    ) -> AsyncGenerator[bytes, None]:
        if begun := look.begins(choices):
            yield begun
        async with aclosing(stream_of(engine, work, choices)) as parts:
            async for part in parts:
                self._seen(request)
                part.choice.text += part.text
                yield look.grows(part.choice, part.text)
        if end := look.ends(choices, work.prompt_tokens):
            yield end

    def _seen(self, request: web.Request) -> None:
        if "first" not in request:
            request["first"] = time.perf_counter() - request["began"]
            self.metrics.first_token.observe(request["first"])

    def _count(self, request: web.Request, work: Work, choices: list[Choice]) -> None:
        request["prompt"], request["completion"] = work.prompt_tokens, sum(choice.tokens for choice in choices)
        self.metrics.tokens.labels("prompt").inc(request["prompt"])
        self.metrics.tokens.labels("completion").inc(request["completion"])

    # Around every request

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request["began"] = time.perf_counter()
        given = request.headers.get("x-request-id", "")
        request["id"] = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        status = CLIENT_GONE
        try:
            with self.life.request():
                response = await self._guarded(request, handler)
                if await self._sent(request, response):
                    status = request.get("failed", response.status)
                return response
        finally:
            self._note(request, status)

    async def _sent(self, request: web.Request, response: web.StreamResponse) -> bool:
        """Write what is not written yet; False where nobody is there to read it."""
        try:
            if not response.prepared:
                self._dress(request, response)
                await response.prepare(request)
            await response.write_eof()
        except ConnectionResetError:
            return False
        return True

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _error(request, ApiError(error.status, error.reason), dict(error.headers))
        except (ApiError, EngineError, TimeoutError, UnicodeEncodeError) as error:
            return _error(request, _failure(error), {})
        except ConnectionResetError:
            raise
        except Exception as error:  # a defect of ours must neither end the server nor show a traceback to clients
            say("defect", id=request["id"], error=f"{type(error).__name__}: {error}"[:500])
            return _error(request, ApiError(500, "internal error"), {})

    def _dress(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-request-id"] = request["id"]
        if self.settings.model_digest:
            response.headers["x-millrace-model-digest"] = self.settings.model_digest
        if self.life.state is State.DRAINING:
            response.force_close()
            response.headers["Connection"] = "close"

    def _note(self, request: web.Request, status: int) -> None:
        seconds = time.perf_counter() - request["began"]
        path = _label(request)
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if path.startswith(("/v1/", invocations.PATH)):
            facts = {name: request[name] for name in ("prompt", "completion") if name in request}
            first = {"firstSeconds": round(request["first"], 6)} if "first" in request else {}
            say("request", id=request["id"], path=path, code=status, seconds=round(seconds, 6), **first, **facts)


def _failure(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, TimeoutError):
        return ApiError(504, "no answer within the time that this endpoint allows: ask for fewer tokens", code="timeout")
    if isinstance(error, UnicodeEncodeError):
        return ApiError(400, "a text of the request is not valid Unicode")
    return ApiError(500, str(error), code="engine_error")


def _said(request: web.Request, error: ApiError) -> tuple[int, dict[str, object]]:
    """Status and body of an error, in the words of the interface that was used."""
    if request.path != invocations.PATH:
        return error.status, error.body()
    told = invocations.failure(error)
    return told.status, invocations.failure_body(told)


def _error(request: web.Request, error: ApiError, headers: dict[str, str]) -> web.Response:
    kept = {name: value for name, value in headers.items() if name.lower() == "allow"}
    if error.retry_after:
        kept["Retry-After"] = str(error.retry_after)
    status, body = _said(request, error)
    return web.json_response(body, status=status, headers=kept)


def _label(request: web.Request) -> str:
    """The route's path, so that the number of metrics is bounded."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "other"
