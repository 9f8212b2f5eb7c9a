"""GPT-2's network with a cache of keys and values, for the files that millrace_trainer.export writes.

transformers has this network too, and many more; but importing it takes 14 s after torch's 6 s, and a step of a small model twice
as long (2.4 ms for 1.3 ms of CPU time). What this one computes is compared with it in the tests.

A row of a batch comes out the same, bit for bit, whichever rows are beside it: MKL sums a product of matrices in the same order
for any number of rows from two on, if the weights lie as (in, out); so a single row is multiplied twice. On a GPU, whose kernels
are chosen by shape, every step has all rows, used or not.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from millrace_serve.problems import StartProblem

KEY_BLOCK = 128
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Shape:
    """The network's sizes, from config.json."""

    layers: int
    heads: int
    width: int
    positions: int
    vocabulary: int
    epsilon: float


def read_shape(folder: Path) -> Shape:
    """The sizes that config.json gives; StartProblem(ModelUnreadable) where it is not GPT-2's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        _check(config)
        return Shape(
            layers=int(config["n_layer"]),
            heads=int(config["n_head"]),
            width=int(config["n_embd"]),
            positions=int(config["n_positions"]),
            vocabulary=int(config["vocab_size"]),
            epsilon=float(config.get("layer_norm_epsilon", 1e-5)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartProblem("ModelUnreadable", f"config.json is not a GPT-2 configuration: {error!r}") from error


def _check(config: dict[str, Any]) -> None:
    if config.get("model_type") != "gpt2":
        raise StartProblem("ModelUnreadable", f"config.json's model_type must be gpt2, not {config.get('model_type')!r}")
    if config.get("activation_function", "gelu_new") != "gelu_new":
        raise StartProblem("ModelUnreadable", "config.json's activation_function must be gelu_new")
    for name in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        if config.get(name):
            raise StartProblem("ModelUnreadable", f"config.json's {name} is not supported: it must be false")


class Cache:
    """Keys and values of every slot: (slot, head, position, width of a head) for each layer. Memory is used as it fills."""

    def __init__(self, shape: Shape, slots: int, context: int, device: str) -> None:
        # Whole blocks of keys, so that a step on a GPU can always read whole blocks.
        room = -(-context // KEY_BLOCK) * KEY_BLOCK
        size = (slots, shape.heads, room, shape.width // shape.heads)
        make = torch.zeros if device == "cuda" else torch.empty
        self.keys = [make(size, device=device) for _ in range(shape.layers)]
        self.values = [make(size, device=device) for _ in range(shape.layers)]


@dataclass
class Batch:
    """What one pass computes: new tokens (rows), each at a position of a slot; all of one slot in a prefill."""

    slots: Tensor
    positions: Tensor
    rows: list[tuple[int, int]]  # slot and position again, where Python needs them
    reach: int  # keys that the furthest of them sees
    prefill: bool


class Network:
    """Weights by their GPT-2 names; `decode` and `prefill` write the cache and return logits in float32."""

    def __init__(self, folder: Path, device: str) -> None:
        self.shape, self.device = read_shape(folder), device
        self._weights = _load(folder / "model.safetensors", self.shape, device)

    def prefill(self, ids: list[int], slot: int, start: int, cache: Cache) -> Tensor:
        """Logits (vocabulary) after the last of `ids`, which stand at `start` and on in a slot."""
        count = len(ids)
        rows = [(slot, start + place) for place in range(count)]
        return self._pass(ids, self._batch(rows, start + count, prefill=True), cache, last_only=True)[0]

    def decode(self, ids: list[int], rows: list[tuple[int, int]], reach: int, cache: Cache) -> Tensor:
        """Logits (row, vocabulary) after one more token at each (slot, position) below `reach`; on a GPU, rows are all slots."""
        return self._pass(ids, self._batch(rows, reach, prefill=False), cache, last_only=False)

    def _batch(self, rows: list[tuple[int, int]], reach: int, prefill: bool) -> Batch:
        pairs = torch.tensor(rows, device=self.device)
        return Batch(pairs[:, 0], pairs[:, 1], rows, reach, prefill)

    def _pass(self, ids: list[int], batch: Batch, cache: Cache, last_only: bool) -> Tensor:
        weights = self._weights
        tokens = torch.tensor(ids, device=self.device)
        x = weights["transformer.wte.weight"][tokens] + weights["transformer.wpe.weight"][batch.positions]
        for layer in range(self.shape.layers):
            x = self._block(x, f"transformer.h.{layer}", batch, cache.keys[layer], cache.values[layer])
        x = self._norm(x[-1:] if last_only else x, "transformer.ln_f")
        return multiply(x, weights[HEAD], None)

    def _block(self, x: Tensor, name: str, batch: Batch, keys: Tensor, values: Tensor) -> Tensor:
        mixed = self._attend(self._linear(self._norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn"), batch, keys, values)
        x = x + self._linear(mixed, f"{name}.attn.c_proj")
        hidden = functional.gelu(self._linear(self._norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc"), approximate="tanh")
        return x + self._linear(hidden, f"{name}.mlp.c_proj")

    def _attend(self, qkv: Tensor, batch: Batch, keys: Tensor, values: Tensor) -> Tensor:
        heads = self.shape.heads
        query, key, value = qkv.view(len(batch.rows), 3, heads, -1).unbind(1)  # each (row, head, width of a head)
        keys[batch.slots, :, batch.positions] = key
        values[batch.slots, :, batch.positions] = value
        if batch.prefill:
            return _attend_prompt(query, batch, keys, values)
        if self.device == "cuda":
            return _attend_all(query, batch, keys, values)
        return torch.cat([_attend_row(query[index], *row, keys, values) for index, row in enumerate(batch.rows)])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, (self.shape.width,), weight, bias, self.shape.epsilon)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return multiply(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (row, in) times weight (in, out), plus bias; a row's result does not depend on the other rows."""
    if x.shape[0] == 1:  # a product with a vector is summed in another order
        return multiply(x.expand(2, -1), weight, bias)[:1]
    return x @ weight if bias is None else torch.addmm(bias, x, weight)


def _attend_row(query: Tensor, slot: int, position: int, keys: Tensor, values: Tensor) -> Tensor:
    """One new token over all before it in its slot: (1, width)."""
    seen = slice(0, position + 1)
    mixed = functional.scaled_dot_product_attention(
        query[None, :, None], keys[slot : slot + 1, :, seen], values[slot : slot + 1, :, seen]
    )
    return mixed.reshape(1, -1)


def _attend_prompt(query: Tensor, batch: Batch, keys: Tensor, values: Tensor) -> Tensor:
    """New tokens of one slot, each over all before it: (row, width)."""
    slot, end = batch.rows[0][0], batch.reach
    mask = torch.arange(end, device=query.device)[None, :] <= batch.positions[:, None]
    mixed = functional.scaled_dot_product_attention(
        query.transpose(0, 1)[None], keys[slot : slot + 1, :, :end], values[slot : slot + 1, :, :end], attn_mask=mask
    )
    return mixed[0].transpose(0, 1).reshape(len(batch.rows), -1)


def _attend_all(query: Tensor, batch: Batch, keys: Tensor, values: Tensor) -> Tensor:
    """One new token in every slot, in the slots' order: (row, width)."""
    seen = -(-batch.reach // KEY_BLOCK) * KEY_BLOCK
    mask = (torch.arange(seen, device=query.device)[None, :] <= batch.positions[:, None])[:, None, None]
    mixed = functional.scaled_dot_product_attention(query[:, :, None], keys[:, :, :seen], values[:, :, :seen], attn_mask=mask)
    return mixed.reshape(len(batch.rows), -1)


def _load(path: Path, shape: Shape, device: str) -> dict[str, Tensor]:
    """Weights in float32, and the embedding once more as (in, out), to multiply by."""
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises a type of its own that it does not export
        raise StartProblem("ModelUnreadable", f"{path.name} cannot be read: {error}") from error
    missing = sorted(set(_names(shape)) - set(tensors))
    if missing:
        raise StartProblem(
            "ModelUnreadable", f"{path.name} lacks {missing[0]} and {len(missing) - 1} more tensors of config.json"
        )
    placed = {name: tensors[name].float().to(device) for name in _names(shape)}
    return {**placed, HEAD: placed["transformer.wte.weight"].T.contiguous()}


def _names(shape: Shape) -> list[str]:
    parts = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]
    blocks = [f"transformer.h.{layer}.{part}" for layer in range(shape.layers) for part in parts]
    both = [f"{name}.{kind}" for name in [*blocks, "transformer.ln_f"] for kind in ("weight", "bias")]
    return ["transformer.wte.weight", "transformer.wpe.weight", *both]
