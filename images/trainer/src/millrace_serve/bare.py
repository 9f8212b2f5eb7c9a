"""`python -m millrace_serve.bare`: time the engine without HTTP, in the same environment as the server.

What an endpoint adds to it is the difference to the same requests over HTTP. Prints one JSON object: tokens per second over all,
and median and 99th percentile, in seconds, of the time to the first token and of whole answers.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from millrace_serve.choose import load_engine
from millrace_serve.engine import Engine, Sampling
from millrace_serve.problems import StartProblem
from millrace_serve.settings import from_environ


@dataclass(frozen=True)
class Sample:
    """One generation: seconds to its first token and to its end, and how many tokens it made."""

    first: float
    whole: float
    tokens: int


async def measure(engine: Engine, prompt: str, tokens: int, requests: int, concurrency: int) -> dict[str, float]:
    """Run greedy generations, `concurrency` at a time, after one that warms up."""
    ids = await engine.encode(prompt)
    await sample(engine, ids, tokens)
    left = iter(range(requests))

    async def worker() -> list[Sample]:
        return [await sample(engine, ids, tokens) for _ in left]

    began = time.perf_counter()
    found = [one for many in await asyncio.gather(*(worker() for _ in range(concurrency))) for one in many]
    return summary(found, time.perf_counter() - began)


async def sample(engine: Engine, ids: Sequence[int], tokens: int) -> Sample:
    """One generation, timed."""
    began, first, made = time.perf_counter(), 0.0, 0
    async for piece in engine.generate(ids, Sampling(tokens, temperature=0)):
        first = first or time.perf_counter() - began
        made += piece.tokens
    return Sample(first, time.perf_counter() - began, made)


def summary(samples: Sequence[Sample], seconds: float) -> dict[str, float]:
    """Rates and quantiles of samples that were taken within `seconds`."""
    found = {"requests": float(len(samples)), "tokensPerSecond": sum(one.tokens for one in samples) / seconds}
    for name in ("first", "whole"):
        ordered = sorted(getattr(one, name) for one in samples)
        for percent in (50, 99):
            found[f"{name}P{percent}"] = ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
    return found


async def _main(options: argparse.Namespace) -> None:
    settings = from_environ()
    engine = await load_engine(settings.model_dir, settings.parameters)
    try:
        found = await measure(engine, options.prompt, options.tokens, options.requests, options.concurrency)
    finally:
        await engine.close()
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> int:
    """Exit code 1 where the model cannot be served."""
    parser = argparse.ArgumentParser(description="Time the engine without HTTP; the environment is the server's.")
    parser.add_argument("--prompt", default="the")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of each answer")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=1)
    try:
        asyncio.run(_main(parser.parse_args()))
    except StartProblem as problem:
        sys.stderr.write(f"{problem.reason}: {problem.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
