"""`torchrun … -m millrace_trainer.gpt`: pre-train a GPT on text, or on mock data, and leave a model and a record.

Slow imports (torch, NeMo) come after everything that can end the run without them.
"""

import os
import sys

from millrace_trainer.checkpoint import Store
from millrace_trainer.config import GPTConfig, read_config
from millrace_trainer.context import Context, read_context
from millrace_trainer.problems import Problem, write_termination
from millrace_trainer.progress import Progress
from millrace_trainer.record import already_done

STOPPED_BY_SIGTERM = 85


def main() -> int:
    """Exit code 0 when the run is complete, 85 after SIGTERM, 1 on a fault, which the termination message names."""
    if _already_done():
        sys.stdout.write("this run was already complete\n")
        return 0
    progress = Progress.from_env()
    try:
        return _run(read_context(), progress)
    except Problem as problem:
        return _fail(problem, progress)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which may not be imported yet
            return _fail(_out_of_memory(error), progress)
        progress.close("failed", f"{type(error).__name__}: {error}"[:500])
        raise


def _already_done() -> bool:
    """Asked before progress is told: what the finished run told last, in progress.json too, stays."""
    try:
        return already_done(read_context())
    except Problem:
        return False


def _fail(problem: Problem, progress: Progress) -> int:
    write_termination(problem)
    sys.stderr.write(f"{problem.reason}: {problem.message}\n")
    progress.close("failed", f"{problem.reason}: {problem.message}")
    return 1


def _out_of_memory(error: Exception) -> Problem:
    first = str(error).split(". ", maxsplit=1)[0]
    return Problem("OutOfMemory", f"{first}: lower microBatchSize or sequenceLength, or use a larger device")


def _run(context: Context, progress: Progress) -> int:
    config = read_config(context.parameters, context.world)
    check_inputs(config, context)
    check_writable(context)
    store = Store(context.checkpoints, context.uid, context.run_id, context.attempt, context.checkpoint_keep)
    pointer = store.resumable()
    from millrace_trainer.training import train

    outcome = train(config, context, store, pointer, progress)
    if outcome.stopped:
        progress.close("failed", f"stopped by SIGTERM; checkpoint at step {outcome.step}")
        return STOPPED_BY_SIGTERM
    progress.close("done")
    return 0


def check_inputs(config: GPTConfig, context: Context) -> None:
    """Problem(InputMissing) before anything slow happens."""
    if config.data == "mock":
        return
    for name in ("train", "validation"):
        path = context.input_path(name)
        if path is None and name == "train":
            raise Problem("InputMissing", "the job has no input named train: add one, or set parameter data to mock")
        if path is not None and not path.is_file():
            raise Problem("InputMissing", f"{path} (input {name}) does not exist: check the Dataset and the claim")


def check_writable(context: Context) -> None:
    """Problem(OutputNotWritable) naming the folder, before hours of work that could not be kept."""
    for folder in (context.output, context.checkpoints):
        probe = folder / f".writable-{context.rank}-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise Problem(
                "OutputNotWritable",
                f"{folder} is not writable for user {os.getuid()} ({error.strerror}): make the claim writable, or set fsGroup",
            ) from error


if __name__ == "__main__":
    sys.exit(main())
