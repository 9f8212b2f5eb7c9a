"""The loss curve of a run. It travels in the checkpoint, so that the curve of a resumed run has no gap and no repeat."""

from dataclasses import dataclass, field
from typing import Any

from millrace_trainer.progress import perplexity


@dataclass
class History:
    """Training losses by step and validation losses by step, in nats per token, and the unigram baseline's loss."""

    train: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    learning_rate: dict[int, float] = field(default_factory=dict)
    unigram_loss: float = 0.0

    def to_state(self) -> dict[str, Any]:
        """A copy made of plain types."""
        return {
            "train": dict(self.train),
            "validation": dict(self.validation),
            "learning_rate": dict(self.learning_rate),
            "unigram_loss": self.unigram_loss,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "History":
        """What `to_state` gave."""
        return cls(**state)

    def metrics(self) -> dict[str, float]:
        """The run record's metrics: last training loss, last validation perplexity, unigram perplexity (per token)."""
        return {
            "loss": _last(self.train),
            "validationPerplexity": perplexity(_last(self.validation)),
            "unigramPerplexity": perplexity(self.unigram_loss),
        }


def _last(values: dict[int, float]) -> float:
    return values[max(values)] if values else float("nan")
