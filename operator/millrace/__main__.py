"""`python -m millrace`: the operator. Settings come from MILLRACE_* variables (engine/settings.py)."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from millrace.engine.registry import controllers
from millrace.engine.runtime import Runtime
from millrace.engine.settings import Settings, from_environment
from millrace.kube import credentials
from millrace.telemetry import logs


async def serve(settings: Settings) -> bool:
    """Run one replica; True when it ended because it was asked to."""
    runtime = Runtime(controllers(), settings, credentials.load())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, runtime.stop)
    await runtime.run()
    return not runtime.lost_leadership


def main() -> int:
    """Exit code 0 after an orderly end, 1 when leadership was lost (the pod is started again), 2 for bad settings."""
    try:
        settings = from_environment()
        logs.configure(settings.log_level)
        return 0 if asyncio.run(serve(settings)) else 1
    except (ValueError, credentials.NoCluster) as error:
        logging.getLogger(__name__).error("%s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
