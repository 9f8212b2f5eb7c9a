"""The ranks as one group: small decisions and objects travel over gloo on the CPU, whatever training itself uses.

A decision that only some ranks take (save, stop, give up) makes the others hang, so every such decision passes here.
"""

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from millrace_trainer.context import Context

T = TypeVar("T")
TIMEOUT = timedelta(minutes=20)


class Ranks:
    """All ranks of the job; with one rank outside torchrun every call is local."""

    def __init__(self, context: Context, backend: str) -> None:
        self.rank, self.world = context.rank, context.world
        self._group: Any = None
        if "RANK" in os.environ:
            distributed.init_process_group(backend, timeout=TIMEOUT)
            self._group = distributed.new_group(backend="gloo", timeout=TIMEOUT)

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sums over all ranks, in double precision."""
        if self._group is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(tensor, group=self._group)
        return [float(value) for value in tensor.tolist()]

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in order of rank, on every rank."""
        if self._group is None:
            return [value]
        values: list[T | None] = [None] * self.world
        distributed.all_gather_object(values, value, group=self._group)
        return [item for item in values if item is not None]

    def from_first(self, value: T) -> T:
        """Rank 0's value on every rank."""
        if self._group is None:
            return value
        box: list[T] = [value]
        distributed.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum([0.0])

    def close(self) -> None:
        """Leave the group."""
        if self._group is not None:
            distributed.destroy_process_group()
