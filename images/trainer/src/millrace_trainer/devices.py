"""Which device, precision and number of threads a rank gets."""

import torch

from millrace_serve.settings import cpus
from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.problems import Problem


def choose_accelerator(config: GPTConfig, context: Context) -> str:
    """`gpu` or `cpu`; Problem(DeviceCount) when the pod has fewer GPUs than ranks, or none where one was asked for."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.accelerator == "cpu" or (config.accelerator == "auto" and count == 0):
        return "cpu"
    if count < context.local_world:
        raise Problem(
            "DeviceCount",
            f"the pod sees {count} GPUs for {context.local_world} processes: "
            "set procsPerNode to the number of GPUs, or correct the pod's resources",
        )
    return "gpu"


def choose_precision(config: GPTConfig, accelerator: str) -> str:
    """Lightning's name of the precision: bf16 only where the device computes it."""
    able = accelerator == "gpu" and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if config.precision == "bf16" or (config.precision == "auto" and able) else "32-true"


def set_threads(config: GPTConfig, context: Context) -> int:
    """Share the pod's CPUs among its ranks; more threads than CPUs would make them wait for each other."""
    threads = config.threads or max(1, cpus() // context.local_world)
    torch.set_num_threads(threads)
    return threads
