"""One run from the first slow import to the record: corpus, model, trainer, fit, export."""

import sys
from dataclasses import dataclass

import torch

from millrace_trainer.checkpoint import Pointer, Store
from millrace_trainer.clock import seconds_since_start
from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.data import Batches, Corpus, Windows, load_corpus, unigram_loss, validation_windows
from millrace_trainer.devices import choose_accelerator, choose_precision, set_threads
from millrace_trainer.export import export_model
from millrace_trainer.history import History
from millrace_trainer.loop import Resume, TrainingLoop
from millrace_trainer.nemo_gpt import NemoGPT, make_trainer
from millrace_trainer.network import GPT
from millrace_trainer.problems import Problem
from millrace_trainer.progress import Progress, perplexity
from millrace_trainer.ranks import Ranks
from millrace_trainer.record import MODEL, write_record
from millrace_trainer.report import write_report
from millrace_trainer.state import load_shared, seed_everything


@dataclass(frozen=True)
class Outcome:
    """How training ended: the step reached, and whether SIGTERM stopped it before the last one."""

    step: int
    stopped: bool


def train(config: GPTConfig, context: Context, store: Store, pointer: Pointer | None, progress: Progress) -> Outcome:
    """Train from `pointer` (or from nothing) to the last step, and leave model, report and record; raises Problem."""
    accelerator = choose_accelerator(config, context)
    threads = set_threads(config, context)
    ranks = Ranks(context, "nccl" if accelerator == "gpu" else "gloo")
    try:
        pointer = ranks.from_first(pointer)  # one answer for all, should a commit fall between two readings
        resume = _load(store, pointer, ranks, progress)
        corpus = load_corpus(config, context, ranks, resume.shared.tokenizer if resume else None)
        loop = _loop(config, context, ranks, store, progress, corpus, resume)
        precision = choose_precision(config, accelerator)
        _say(
            ranks,
            f"{context.world} ranks on {accelerator} ({precision}, {threads} threads), from step {loop.step}; "
            f"start-up took {seconds_since_start():.1f} s",
        )
        network = _fit(config, context, loop, accelerator, precision)
        loop.saver.wait()
        ranks.barrier()  # nobody leaves before the commit: torchrun would end the rank that still writes
        if not loop.stopped and ranks.rank == 0:
            _finish(config, context, loop, network, progress)
        ranks.barrier()
        return Outcome(loop.step, loop.stopped)
    finally:
        ranks.close()


def _load(store: Store, pointer: Pointer | None, ranks: Ranks, progress: Progress) -> Resume | None:
    if pointer is None:
        return None
    if ranks.rank == 0:
        store.verify(pointer)
    ranks.barrier()
    progress.checkpoint(pointer.step, pointer.path, pointer.committed_at)
    return Resume(pointer, load_shared(store, pointer))


def _loop(
    config: GPTConfig,
    context: Context,
    ranks: Ranks,
    store: Store,
    progress: Progress,
    corpus: Corpus,
    resume: Resume | None,
) -> TrainingLoop:
    windows = validation_windows(corpus.validation, config)
    history = History.from_state(resume.shared.history) if resume else History()
    history.unigram_loss = unigram_loss(corpus.train, windows, config.vocabSize)
    return TrainingLoop(config, context, ranks, store, progress, corpus, windows, history, resume)


def _fit(config: GPTConfig, context: Context, loop: TrainingLoop, accelerator: str, precision: str) -> GPT:
    first, left = loop.step, config.maxSteps - loop.step
    weights = loop.resume.shared.network if loop.resume else None
    if left <= 0 and weights is not None:  # an attempt that fell between its last checkpoint and its record
        return _restored(GPT(config), weights)
    seed_everything(config.seed, 0, 0)  # the same weights on every rank, whatever its own random state will be
    trainer = make_trainer(config, context, accelerator, precision, left, first, loop)
    windows = Windows(loop.corpus.train, config.sequenceLength, config.seed)
    module = NemoGPT(config, Batches(windows, config, context.rank, context.world, first), first, trainer)
    network: GPT = _restored(module.network, weights) if weights else module.network
    seed_everything(config.seed, context.rank, first)
    trainer.fit(module)
    return network


def _restored(network: GPT, weights: dict[str, torch.Tensor]) -> GPT:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise Problem(
            "CheckpointUnreadable", "the checkpoint holds a model of another shape: use another runID or checkpoint path"
        ) from error
    return network


def _finish(config: GPTConfig, context: Context, loop: TrainingLoop, network: GPT, progress: Progress) -> None:
    progress.phase("exporting")
    metrics = loop.history.metrics()
    try:
        export_model(network, config, loop.corpus.tokenizer, context.output / MODEL)
        write_report(loop.history, config, context, context.output)
        assert loop.pointer is not None
        write_record(context, metrics, loop.pointer)
    except OSError as error:
        raise Problem(
            "OutputNotWritable", f"the result cannot be written under {context.output}: {error.strerror or error}"
        ) from error
    _say(
        loop.ranks,
        f"Validation perplexity {metrics['validationPerplexity']:.2f} per token; "
        f"unigram baseline on the same tokens {perplexity(loop.history.unigram_loss):.2f} per token",
    )


def _say(ranks: Ranks, text: str) -> None:
    if ranks.rank == 0:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
