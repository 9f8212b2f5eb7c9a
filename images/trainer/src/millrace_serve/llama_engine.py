"""The engine for GGUF files: llama.cpp's own HTTP server, from xllamacpp, inside this process behind a Unix socket.

It batches continuously by itself. We ask it for single generations of token ids, and do everything that OpenAI's interface
says above it, so that both engines answer alike.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from millrace_serve.engine import HANG_SECONDS, ChatPrompt, EngineError, Message, Piece, Sampling, plain_chat
from millrace_serve.problems import StartProblem
from millrace_serve.settings import Parameters, cpus

DEFAULT_CONTEXT = 4096
RANDOM_SEED = 0xFFFFFFFF  # what llama.cpp takes for "no seed"
WATCH_SECONDS = 2.0
ENDS = {"eos": "stop", "word": "stop", "limit": "length"}
MAX_LINE = 1 << 20


class LlamaEngine:
    """engine.Engine over llama.cpp's server."""

    def __init__(self, server: Any, folder: "tempfile.TemporaryDirectory[str]", facts: Mapping[str, Any]) -> None:
        self._server, self._folder = server, folder
        # llama.cpp closes a connection after each answer without saying so; a new one on a Unix socket costs next to nothing.
        connector = aiohttp.UnixConnector(str(_socket(folder)), force_close=True, limit=0)
        self._http = aiohttp.ClientSession("http://llama", connector=connector, timeout=aiohttp.ClientTimeout(None))
        self.context: int = facts["n_ctx"]
        self.vocabulary: int = facts["n_vocab"]
        self._template: bool = facts["template"]
        self._running = 0
        self._beat = time.monotonic()
        self._watch = asyncio.get_running_loop().create_task(self._watching())

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        answer = await self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return answer["tokens"] or await self.encode("\n")

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return str((await self._post("/detokenize", {"tokens": list(ids)}))["content"])

    async def chat(self, messages: Sequence[Message]) -> ChatPrompt:
        """The conversation by the template in the GGUF file, else as plain lines."""
        if not self._template:
            return plain_chat(messages)
        return ChatPrompt((await self._post("/apply-template", {"messages": list(messages)}))["prompt"])

    async def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Pieces as llama.cpp sends them: whole characters."""
        self._running += 1
        try:
            async with self._http.post("/completion", json=completion(prompt, sampling), read_bufsize=MAX_LINE) as answer:
                if answer.status != 200:
                    raise EngineError(_reason(await answer.text()))
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        yield piece(json.loads(line[6:]))
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"llama.cpp: {error!r}") from error
        finally:
            self._running -= 1

    def batch_size(self) -> int:
        """Generations that llama.cpp was asked for."""
        return self._running

    def alive(self) -> bool:
        """Whether llama.cpp's loop has answered of late."""
        return time.monotonic() - self._beat < HANG_SECONDS

    async def close(self) -> None:
        """End llama.cpp's server."""
        self._watch.cancel()
        await self._http.close()
        held, self._server = [self._server], None
        await asyncio.to_thread(held.clear)  # its destructor waits for its threads
        self._folder.cleanup()

    async def _watching(self) -> None:
        """Ask for the slots, which the loop that computes answers between two batches."""
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with self._http.get("/slots") as answer:
                    await answer.read()
                    self._beat = time.monotonic() if answer.status == 200 else self._beat
            await asyncio.sleep(WATCH_SECONDS)

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with self._http.post(path, json=body) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"llama.cpp: {error!r}") from error
        if answer.status != 200:
            raise EngineError(_reason(text))
        content: dict[str, Any] = json.loads(text)
        return content


def completion(prompt: Sequence[int], sampling: Sampling) -> dict[str, Any]:
    """The request to llama.cpp: temperature first and top_p after it, as OpenAI has it, and no other samplers but top_k."""
    return {
        "prompt": list(prompt),
        "n_predict": sampling.limit,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 1 if sampling.temperature == 0 or sampling.top_p == 0 else sampling.top_k,
        "samplers": ["top_k", "temperature", "top_p"],
        "seed": sampling.seed % RANDOM_SEED,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": False,  # what was computed in another batch differs in the last bits
    }


def piece(content: Mapping[str, Any]) -> Piece:
    """One event of llama.cpp's stream; EngineError where it reports a failure."""
    if "error" in content:
        raise EngineError(_reason(json.dumps(content)))
    data, tokens = str(content.get("content", "")).encode(), len(content.get("tokens", []))
    return Piece(data, tokens, ENDS.get(content.get("stop_type", ""), "stop") if content.get("stop") else None)


def _reason(text: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return f"llama.cpp: {json.loads(text)['error']['message']}"
    return f"llama.cpp: {text[:300]}"


async def load(model: Path, parameters: Parameters) -> LlamaEngine:
    """Start llama.cpp beside the event loop; StartProblem where it refuses the file."""
    folder = tempfile.TemporaryDirectory(prefix="llama-")
    try:
        server = await asyncio.to_thread(_start, model, parameters, _socket(folder))
        return LlamaEngine(server, folder, await _facts(_socket(folder)))
    except (ImportError, RuntimeError, ValueError, EngineError) as error:
        folder.cleanup()
        raise StartProblem("ModelUnreadable", f"llama.cpp cannot load {model.name}: {error}") from error


def _start(model: Path, parameters: Parameters, socket: Path) -> Any:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.hostnames, settings.port = [str(socket)], 0
    settings.n_parallel = parameters.maxBatch
    settings.n_ctx = parameters.maxBatch * (parameters.contextLength or DEFAULT_CONTEXT)
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = parameters.threads or cpus()
    settings.verbosity, settings.ui, settings.endpoint_slots = -1, False, True
    settings.cache_ram_mib, settings.n_ctx_checkpoints = 0, 0
    if parameters.device == "cpu":
        settings.n_gpu_layers = 0
    return xllamacpp.Server(settings)


async def _facts(socket: Path) -> dict[str, Any]:
    """Context of one slot, size of the vocabulary, and whether the file has a template for conversations."""
    async with aiohttp.ClientSession("http://llama", connector=aiohttp.UnixConnector(str(socket), force_close=True)) as http:
        async with http.get("/props") as answer:
            properties = await answer.json()
        async with http.get("/v1/models") as answer:
            about = (await answer.json())["data"][0]["meta"]
    context = min(properties["default_generation_settings"]["n_ctx"], about["n_ctx_train"])
    return {"n_ctx": context, "n_vocab": about["n_vocab"], "template": bool(properties.get("chat_template"))}


def _socket(folder: "tempfile.TemporaryDirectory[str]") -> Path:
    return Path(folder.name) / "llama.sock"
