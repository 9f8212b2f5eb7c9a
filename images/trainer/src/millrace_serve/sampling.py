"""From logits to a token. Everything that is drawn comes from the generation's own seed, never from the batch."""

import numpy as np

from millrace_serve.engine import Sampling

Logits = np.ndarray[tuple[int], np.dtype[np.float32]]


class Sampler:
    """Chooses the tokens of one generation."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: Logits) -> int:
        """The most likely token at temperature 0, else one drawn from those of the `top_k` likeliest that make up `top_p`."""
        if self._sampling.temperature == 0 or self._sampling.top_p == 0:
            return int(logits.argmax())
        probabilities = softmax(logits, self._sampling.temperature)
        order = np.argsort(-probabilities, kind="stable")[: self._sampling.top_k or None]
        falling = probabilities[order] / probabilities[order].sum()
        return int(order[pick(falling, self._sampling.top_p, self._random.random())])


def softmax(logits: Logits, temperature: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Probabilities in float64, so that their sum is 1 to the fifteenth digit."""
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    total: np.ndarray[tuple[int], np.dtype[np.float64]] = weights / weights.sum()
    return total


def pick(falling: np.ndarray[tuple[int], np.dtype[np.float64]], top_p: float, drawn: float) -> int:
    """Which of falling probabilities a number drawn from [0, 1) means, among the fewest that reach `top_p` together."""
    sums = np.cumsum(falling)
    kept = min(int(np.searchsorted(sums, top_p)) + 1, len(sums))
    return min(int(np.searchsorted(sums[:kept], drawn * sums[kept - 1], side="right")), kept - 1)
