"""`python -m millrace_serve`: serve the model in MILLRACE_MODEL_DIR until SIGTERM, and then end without losing a request.

With the argument `serve` it is a container of SageMaker's.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence

from aiohttp import web

from millrace_serve.choose import load_engine
from millrace_serve.log import say
from millrace_serve.problems import StartProblem, write_termination
from millrace_serve.server import Server
from millrace_serve.settings import Settings, from_environ

MARGIN_SECONDS = 1.0  # to end in order before the kubelet kills
KEEP_ALIVE_SECONDS = 75.0  # longer than the usual client or proxy keeps an idle connection, so that it is never ours to close


def main(arguments: Sequence[str] = ()) -> int:
    """Exit code 0 after SIGTERM, 1 where serving could not begin, which the termination message explains."""
    try:
        asyncio.run(serve(from_environ(arguments)))
    except StartProblem as problem:
        write_termination(problem)
        sys.stderr.write(f"{problem.reason}: {problem.message}\n")
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Listen at once, so that probes are answered while the model loads; return when all is drained."""
    server = Server(settings)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, server.life.drain)
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handler_cancellation=True,  # a client that goes away gives its place back
        handle_signals=False,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=0.1,  # whoever is left by then was waited for
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, None, settings.port, backlog=1024)
        await _start(site, settings.port)
        if await _load(server):
            await server.life.told_to_end()
            await _drain(server, site)
    finally:
        await runner.cleanup()
        if server.engine is not None:
            await server.engine.close()


async def _start(site: web.TCPSite, port: int) -> None:
    try:
        await site.start()
    except OSError as error:
        raise StartProblem("BadParameter", f"port {port} cannot be listened on: {error.strerror}") from error


async def _load(server: Server) -> bool:
    """Load the model; False where SIGTERM came first."""
    began = time.monotonic()
    loading = asyncio.create_task(load_engine(server.settings.model_dir, server.settings.parameters))
    told = asyncio.create_task(server.life.told_to_end())
    await asyncio.wait({loading, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not loading.done():
        return False
    server.engine = await loading
    server.life.loaded()
    facts = {"contextLength": server.engine.context, "seconds": round(time.monotonic() - began, 3)}
    say("ready", model=server.settings.model_name, digest=server.settings.model_digest, port=server.settings.port, **facts)
    return True


async def _drain(server: Server, site: web.TCPSite) -> None:
    """Answer on while the endpoint is taken out of services, then close the door, then let the last ones finish."""
    end = time.monotonic() + server.settings.grace_seconds - MARGIN_SECONDS
    say("draining", requests=server.life.under_way, seconds=server.settings.drain_seconds)
    await asyncio.sleep(min(server.settings.drain_seconds, max(0.0, end - time.monotonic())))
    await site.stop()
    done = await server.life.idle(end - time.monotonic())
    say("ended" if done else "cut", requests=server.life.under_way)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
