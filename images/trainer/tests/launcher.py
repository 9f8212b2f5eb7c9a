"""Runs ranks of the trainer by fork, so that a test pays NeMo's slow imports once and not per rank.

Reads one JSON object a line from standard input, {"env": {...}, "world": 2, "log": path}; answers {"pids": [...]} when
the ranks run and {"codes": [...]} when all have ended. The forked ranks do what torchrun would have started.
"""

import json
import os
import socket
import sys

import millrace_trainer.training  # noqa: F401 - the slow part, inherited by every rank
from millrace_trainer.gpt import main


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_rank(rank: int, world: int, port: int, env: dict[str, str], log: str) -> None:
    """Become one rank; never returns."""
    descriptor = os.open(f"{log}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(env)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_WORLD_SIZE=str(world),
        GROUP_RANK="0",
        ROLE_RANK=str(rank),
        TORCHELASTIC_RUN_ID="test",
        TORCHELASTIC_RESTART_COUNT="0",
        TORCHELASTIC_MAX_RESTARTS="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    code = 1
    try:
        code = main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def launch(request: dict[str, object]) -> None:
    """Fork the ranks, wait for all, answer with their exit codes (negative: the signal)."""
    world, port = int(str(request["world"])), free_port()
    env: dict[str, str] = dict(request["env"])  # type: ignore[call-overload]
    pids = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            run_rank(rank, world, port, env, str(request["log"]))
        pids.append(pid)
    answer({"pids": pids})
    answer({"codes": [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]})


def answer(value: dict[str, object]) -> None:
    """One JSON line on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    answer({"ready": True})
    for line in sys.stdin:
        launch(json.loads(line))
