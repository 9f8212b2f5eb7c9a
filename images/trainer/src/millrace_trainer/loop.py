"""What happens after every optimizer step: measure, tell, validate, save, stop. All ranks decide together."""

import math
import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from millrace_trainer.checkpoint import Pointer, Store
from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.data import Corpus
from millrace_trainer.history import History
from millrace_trainer.problems import Problem
from millrace_trainer.progress import Progress, perplexity
from millrace_trainer.ranks import Ranks
from millrace_trainer.state import Saver, Shared, load_random_state, set_random_state


@dataclass(frozen=True)
class Resume:
    """A checkpoint to go on from: the pointer and its shared state."""

    pointer: Pointer
    shared: Shared


class TrainingLoop(Callback):  # type: ignore[misc]
    """Lightning's callback; `stopped` tells afterwards whether SIGTERM ended training before the last step."""

    def __init__(
        self,
        config: GPTConfig,
        context: Context,
        ranks: Ranks,
        store: Store,
        progress: Progress,
        corpus: Corpus,
        windows: Tensor,
        history: History,
        resume: Resume | None,
    ) -> None:
        self.config, self.context, self.ranks, self.progress = config, context, ranks, progress
        self.corpus, self.windows, self.history = corpus, windows, history
        self.store, self.resume = store, resume
        self.first_step = self.step = resume.pointer.step if resume else 0
        self.pointer = resume.pointer if resume else None
        self.saver = Saver(store, ranks, self._committed)
        self.stopped = False
        self._terminate = False
        self._measured = (self.step, 0.0)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Restore the optimizer and random state; take SIGTERM over from Lightning, which would drop the work."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self.resume is not None:
            trainer.optimizers[0].load_state_dict(self.resume.shared.optimizer)
            for group, rate in zip(
                trainer.optimizers[0].param_groups, trainer.lr_scheduler_configs[0].scheduler.get_last_lr(), strict=True
            ):
                group["lr"] = rate
            if self.resume.shared.world == self.ranks.world:
                set_random_state(load_random_state(self.store, self.resume.pointer, self.ranks.rank))
            self.resume = None  # the copy in memory is as large as the model and its optimizer
        self._measured = (self.step, time.monotonic())
        self.progress.phase("training")

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        """Called per micro-batch; acts when an optimizer step was completed."""
        step = self.first_step + trainer.global_step
        if step == self.step:
            return
        self.step = step
        last = step == self.config.maxSteps
        logs = last or step % self.config.logEverySteps == 0
        saves = last or bool(self.context.checkpoint_every and step % self.context.checkpoint_every == 0)
        stop = self._agree(module, logs or saves)
        self.saver.check()
        if logs:
            self._log(trainer)
        if last or step % self.config.validateEverySteps == 0:
            self._validate(trainer, module)
        if saves or stop:
            self._save(trainer, module)
        if stop and not last:
            self.stopped, trainer.should_stop = True, True

    def validation_loss(self, module: Any) -> float:
        """Mean loss over the validation windows, each rank taking its share, in nats per token."""
        module.network.eval()
        total = 0.0
        mine = self.windows[self.ranks.rank :: self.ranks.world]
        with torch.no_grad(), module.trainer.precision_plugin.forward_context():
            for batch in torch.split(mine, self.config.microBatchSize):
                total += float(module.network.loss(batch.to(module.device))) * len(batch)
        module.network.train()
        return self.ranks.sum([total])[0] / len(self.windows)

    def _agree(self, module: Any, measure: bool) -> bool:
        """One exchange a step: whether any rank was told to stop and, where needed, the mean loss of the step."""
        losses = module.take_losses()
        mean = float(torch.stack(losses).mean()) if measure else 0.0
        stop, total = self.ranks.sum([float(self._terminate), mean])
        if measure:
            loss = total / self.ranks.world
            if not math.isfinite(loss):
                raise Problem(
                    "NaNLoss",
                    f"the training loss became {loss} at step {self.step}: lower learningRate or check the data",
                    self.step,
                )
            self.history.train[self.step] = loss
        return stop > 0

    def _log(self, trainer: lightning.Trainer) -> None:
        loss, rate = self.history.train[self.step], trainer.optimizers[0].param_groups[0]["lr"]
        self.history.learning_rate[self.step] = rate
        steps, at = self.step - self._measured[0], time.monotonic()
        seconds = max(1e-9, at - self._measured[1])
        self._measured = (self.step, at)
        speed = steps * self.config.globalBatchSize * self.config.sequenceLength / seconds
        self.progress.step(self.step, self.config.maxSteps, tokens_per_second=speed, loss=loss, perplexity=perplexity(loss))
        self._scalars(trainer, {"train/loss": loss, "train/learning_rate": rate, "train/tokens_per_second": speed})

    def _validate(self, trainer: lightning.Trainer, module: Any) -> None:
        loss = self.history.validation[self.step] = self.validation_loss(module)
        self.progress.step(
            self.step,
            self.config.maxSteps,
            validation_loss=loss,
            validationPerplexity=perplexity(loss),
            unigramPerplexity=perplexity(self.history.unigram_loss),
        )
        self._scalars(trainer, {"validation/loss": loss, "validation/perplexity": perplexity(loss)})
        self._measured = (self.step, time.monotonic())

    def _save(self, trainer: lightning.Trainer, module: Any) -> None:
        self.progress.phase("checkpointing")
        optimizer = trainer.optimizers[0]
        self.saver.save(self.step, module.network, optimizer, self.history, self.corpus.tokenizer)
        self.progress.phase("training")

    def _committed(self, pointer: Pointer) -> None:
        self.pointer = pointer
        self.progress.checkpoint(pointer.step, pointer.path, pointer.committed_at)

    def _scalars(self, trainer: lightning.Trainer, values: dict[str, float]) -> None:
        if self.ranks.rank == 0 and trainer.logger is not None:
            writer: Any = trainer.logger.experiment
            for name, value in values.items():
                writer.add_scalar(name, value, self.step)

    def _on_sigterm(self, _: int, __: FrameType | None) -> None:
        self._terminate = True
