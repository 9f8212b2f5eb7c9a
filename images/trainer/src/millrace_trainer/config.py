"""The GPT's settings: named presets, overridden one by one by the job's parameters (strings), all checked by name."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from typing import Any

from millrace_trainer.problems import Problem

CHOICES = {
    "data": ("text", "mock"),
    "precision": ("auto", "bf16", "fp32"),
    "accelerator": ("auto", "cpu", "gpu"),
}
LARGEST = 1e30
MAY_BE_ZERO = frozenset(
    {"dropout", "warmupSteps", "minLearningRate", "weightDecay", "gradientClip", "seed", "threads", "beta1", "beta2"}
)


@dataclass(frozen=True)
class GPTConfig:
    """Field names are parameter names. Lengths in tokens, batch sizes in sequences, learning rates per step of AdamW.

    `vocabSize` bounds the tokenizer and sizes the embedding; `threads` 0 means what the pod's CPU limit allows.
    """

    data: str = "text"
    layers: int = 4
    hiddenSize: int = 128
    heads: int = 4
    sequenceLength: int = 128
    vocabSize: int = 2048
    dropout: float = 0.0
    maxSteps: int = 400
    microBatchSize: int = 8
    globalBatchSize: int = 16
    learningRate: float = 3e-3
    minLearningRate: float = 3e-4
    warmupSteps: int = 40
    weightDecay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradientClip: float = 1.0
    precision: str = "auto"
    accelerator: str = "auto"
    validateEverySteps: int = 100
    validationTokens: int = 16_384
    logEverySteps: int = 1
    mockTokens: int = 500_000
    seed: int = 1234
    threads: int = 0


PRESETS: Mapping[str, GPTConfig] = {
    "tiny": GPTConfig(),
    "gpt3-126m": GPTConfig(
        layers=12,
        hiddenSize=768,
        heads=12,
        sequenceLength=2048,
        vocabSize=50_304,
        maxSteps=300_000,
        microBatchSize=8,
        globalBatchSize=256,
        learningRate=6e-4,
        minLearningRate=6e-5,
        warmupSteps=636,
        validateEverySteps=2000,
        validationTokens=1_048_576,
        logEverySteps=10,
        mockTokens=20_000_000,
    ),
}


def read_config(parameters: Mapping[str, str], world: int) -> GPTConfig:
    """A preset (default tiny) with the job's parameters on top; raises Problem(BadParameter) naming what is allowed."""
    given = dict(parameters)
    preset = given.pop("preset", "tiny")
    if preset not in PRESETS:
        raise Problem("BadParameter", f"parameter preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    known = {field.name: field for field in fields(GPTConfig)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in known:
            raise Problem("BadParameter", f"unknown parameter {name!r}; allowed: preset, {', '.join(known)}")
        values[name] = _parse(known[name], text)
    config = replace(PRESETS[preset], **values)
    _check_together(config, world)
    return config


def _parse(field: "Field[Any]", text: str) -> Any:
    if field.type is str:
        allowed = CHOICES[field.name]
        if text not in allowed:
            raise Problem("BadParameter", f"parameter {field.name} must be one of {', '.join(allowed)}, not {text!r}")
        return text
    kind, word = (int, "an integer") if field.type is int else (float, "a number")
    try:
        value = kind(text)
    except ValueError as error:
        raise Problem("BadParameter", f"parameter {field.name} must be {word}, not {text!r}") from error
    if value > LARGEST:  # also infinity; beyond it the optimizer's arithmetic overflows
        raise Problem("BadParameter", f"parameter {field.name} must be at most {LARGEST:g}, not {text!r}")
    least = "0 or more" if field.name in MAY_BE_ZERO else "more than 0"
    if not (value > 0 or (value == 0 and field.name in MAY_BE_ZERO)):
        raise Problem("BadParameter", f"parameter {field.name} must be {least}, not {text!r}")
    return value


def _check_together(config: GPTConfig, world: int) -> None:
    if config.hiddenSize % config.heads:
        raise Problem("BadParameter", f"hiddenSize {config.hiddenSize} must be a multiple of heads {config.heads}")
    if config.dropout >= 1 or config.beta1 >= 1 or config.beta2 >= 1:
        raise Problem("BadParameter", "dropout, beta1 and beta2 must be less than 1")
    if config.vocabSize < 257:
        raise Problem("BadParameter", "vocabSize must be at least 257: the 256 bytes and the end-of-text token")
    if config.globalBatchSize % (config.microBatchSize * world):
        raise Problem(
            "BadParameter",
            f"globalBatchSize {config.globalBatchSize} must be a multiple of microBatchSize {config.microBatchSize} "
            f"times {world} ranks",
        )
