"""`python -m millrace_local_aws serve`: prints its address when it is ready, ends on SIGTERM. `seed` fills one that serves."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from millrace_local_aws.run import Options, run_forever
from millrace_local_aws.seed import seed
from millrace_local_aws.world import Settings


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="millrace_local_aws", description="A local AWS")
    commands = made.add_subparsers(dest="command", required=True)
    filling = commands.add_parser("seed", help="give an account of a local AWS that serves a hub, a bucket and a role")
    filling.add_argument("--endpoint-url", default="http://127.0.0.1:4566")
    filling.add_argument("--account", default="123456789012")
    filling.add_argument("--region", default="us-east-1")
    serve = commands.add_parser("serve", help="serve until SIGTERM")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=4566)
    serve.add_argument("--data", type=Path, help="where the state is kept; without it, nowhere")
    serve.add_argument("--speed", type=float, help="seconds of the clock a second; 0 stands still")
    serve.add_argument("--start-clock", type=float, help="seconds since 1970 that the clock begins at")
    serve.add_argument("--enforce-iam", action="store_true", help="refuse what no policy allows")
    serve.add_argument("--runner", default="scripted", choices=["scripted", "processes", "kubernetes"])
    serve.add_argument("--runner-options", default="{}", help="JSON: see the runner's module")
    serve.add_argument("--durations", default="{}", help="JSON: seconds of the clock by state")
    serve.add_argument("--pace", type=float, default=1.0, help="factor on the durations of all states, such as 0.05")
    return made


def _announce(address: str) -> None:
    """Whoever started this waits for the line."""
    sys.stdout.write(f"ready on {address}\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.command == "seed":
        seed(chosen.endpoint_url, chosen.account, chosen.region)
        return 0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    durations, options = json.loads(chosen.durations), json.loads(chosen.runner_options)
    settings = Settings(chosen.enforce_iam, chosen.runner, options, durations, chosen.pace)
    run = Options(chosen.data, chosen.speed, chosen.start_clock, chosen.host, chosen.port, settings)
    run_forever(run, _announce)
    return 0


if __name__ == "__main__":
    sys.exit(main())
