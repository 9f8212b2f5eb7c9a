"""The GPT itself, in plain torch: pre-norm decoder, learned positions, tied embeddings, fused causal attention.

Layout and GELU follow GPT-2, so that an exported model loads as `GPT2LMHeadModel`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millrace_trainer.config import GPTConfig


class Block(nn.Module):
    """Attention and a four times wider perceptron, each behind a layer norm and added to its input."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        width = config.hiddenSize
        self.heads, self.dropout = config.heads, config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same shape."""
        x = x + self._drop(self._attend(self.norm1(x)))
        hidden = functional.gelu(self.up(self.norm2(x)), approximate="tanh")
        return x + self._drop(self.down(hidden))

    def _attend(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        query, key, value = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=drop, is_causal=True)
        joined: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(batch, time, width))
        return joined

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class GPT(nn.Module):
    """A causal language model over token ids."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.tokens = nn.Embedding(config.vocabSize, config.hiddenSize)
        self.positions = nn.Embedding(config.sequenceLength, config.hiddenSize)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.hiddenSize)
        self._initialise(config.layers)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (batch, time) to logits (batch, time, vocabulary)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        x = functional.dropout(self.tokens(ids) + self.positions(places), self.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.tokens.weight)

    def loss(self, window: Tensor) -> Tensor:
        """Mean cross-entropy in nats per token over windows (batch, time + 1)."""
        logits = self(window[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1).float(), window[:, 1:].flatten())

    def _initialise(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            # GPT-2's scaling: what is added to the residual stream shrinks with depth.
            residual = name.endswith(("attention_out.weight", "down.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, norms and position vectors do not."""
    matrices = [p for name, p in network.named_parameters() if p.dim() >= 2 and "positions" not in name]
    others = [p for name, p in network.named_parameters() if p.dim() < 2 or "positions" in name]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate_factor(step: int, config: GPTConfig) -> float:
    """Linear warm-up, then half a cosine down to the least rate at the last step; a factor of `learningRate`."""
    if step < config.warmupSteps:
        return (step + 1) / config.warmupSteps
    least = config.minLearningRate / config.learningRate
    passed = (step - config.warmupSteps) / max(1, config.maxSteps - config.warmupSteps)
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * min(1.0, passed)))
