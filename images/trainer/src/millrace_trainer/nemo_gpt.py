"""The GPT as a NeMo model: what Lightning's loop calls, and the NeMo trainer with its experiment folder around it."""

import logging
import warnings
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from nemo.core import ModelPT
from nemo.utils.exp_manager import exp_manager
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader

from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.data import Batches
from millrace_trainer.network import GPT, learning_rate_factor, parameter_groups


class NemoGPT(ModelPT):  # type: ignore[misc]
    """Causal language modelling; `first_step` is how many optimizer steps lie behind us when fit begins."""

    def __init__(self, config: GPTConfig, batches: Batches, first_step: int, trainer: lightning.Trainer) -> None:
        super().__init__(cfg=OmegaConf.create({"gpt": vars(config)}), trainer=trainer)
        self.settings, self.batches, self.first_step = config, batches, first_step
        self.network = GPT(config)
        self._losses: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The mean loss of a micro-batch (micro batch, length + 1), in nats per token."""
        loss = self.network.loss(batch)
        self._losses.append(loss.detach())
        return loss

    def take_losses(self) -> list[Tensor]:
        """The losses of the micro-batches since the last call, still on the device."""
        taken, self._losses = self._losses, []
        return taken

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW, with warm-up and cosine stepped once per optimizer step and counted from the run's beginning."""
        config = self.settings
        groups = parameter_groups(self.network, config.weightDecay)
        optimizer = torch.optim.AdamW(groups, lr=config.learningRate, betas=(config.beta1, config.beta2))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(self.first_step + step, config))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Tensor]:
        """This rank's endless stream of micro-batches."""
        return DataLoader(self.batches, batch_size=None)

    def setup_training_data(self, train_data_config: DictConfig) -> None:
        """Nothing to set up from a configuration: the stream is given to the constructor."""

    def setup_validation_data(self, val_data_config: DictConfig) -> None:
        """Validation runs at steps of the whole run, which Lightning's own loop does not know after a resume."""

    @classmethod
    def list_available_models(cls) -> list[Any]:
        """No pre-trained weights are offered."""
        return []


def make_trainer(
    config: GPTConfig, context: Context, accelerator: str, precision: str, steps: int, first_step: int, loop: Callback
) -> lightning.Trainer:
    """A Lightning trainer for the `steps` that are left, with NeMo's experiment folder and TensorBoard log."""
    quiet()
    distributed = torch.distributed.is_initialized()
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=context.local_world,
        num_nodes=context.nodes,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if distributed else "auto",
        precision=precision,
        max_steps=steps,
        min_epochs=0,
        accumulate_grad_batches=config.globalBatchSize // (config.microBatchSize * context.world),
        gradient_clip_val=config.gradientClip or None,
        callbacks=[loop],
        logger=False,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    exp_manager(trainer, experiment_config(context, first_step))
    return trainer


def experiment_config(context: Context, first_step: int) -> dict[str, Any]:
    """NeMo's logs go to the output; checkpoints and preemption are ours, since NeMo's know no commit and no CPU."""
    return {
        "explicit_log_dir": str(context.output / "tensorboard"),
        "create_tensorboard_logger": True,
        "summary_writer_kwargs": {"purge_step": first_step + 1},  # what a lost attempt logged beyond its checkpoint
        "create_checkpoint_callback": False,
        "create_preemption_callback": False,
        "log_step_timing": False,
        "resume_if_exists": False,
    }


def quiet() -> None:
    """Hide what Lightning and NeMo say on every start and no user can act on."""
    for name in ("lightning.pytorch", "nemo_logger"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
