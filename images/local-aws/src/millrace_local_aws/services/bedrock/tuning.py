"""What a tuning job is given: lines of JSON and hyperparameters, checked; and what its container is given instead. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from millrace_local_aws.services.bedrock.foundation import Foundation, document

MEMBERS = {"FINE_TUNING": ("prompt", "completion"), "CONTINUED_PRE_TRAINING": ("input",)}
SHAPE = {"layers": "2", "hiddenSize": "128", "heads": "4"}
"""Of the network that stands in for the base model's."""
_RATE = 3e-3
"""The stand-in's learning rate where a job asks for the base model's default: a small network learns nothing from that one."""
_CHARACTERS_PER_TOKEN = 16
"""More than the stand-in's tokenizer packs into one, so that short data still fill a window."""
_WINDOWS = (8, 256)
_VALUES = {"integer": int, "float": float}


class BadTuning(Exception):
    """The text is the refusal, or the job's failureMessage."""


@dataclass(frozen=True)
class Rows:
    """Training or validation data as it was read."""

    values: list[dict[str, str]]
    characters: int


def check_hyperparameters(base: Foundation, given: dict[str, str]) -> dict[str, str]:
    """With the base model's defaults; raises BadTuning for what it does not know or allow."""
    parameters = document()["hyperparameters"][base.hyperparameters]["parameters"]
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        raise BadTuning(
            f"The provided hyperparameters are not supported by {base.id}: {', '.join(unknown)}."
            f" Supported hyperparameters: {', '.join(parameters)}."
        )
    for name, text in given.items():
        _check_value(base, name, text, parameters[name])
    return {name: given.get(name, told["default"]) for name, told in parameters.items()}


def _check_value(base: Foundation, name: str, text: str, told: dict[str, Any]) -> None:
    try:
        value = _VALUES[told["type"]](text)
    except ValueError as error:
        raise BadTuning(f"The hyperparameter {name} must be of type {told['type']}, not '{text}'.") from error
    if not told["min"] <= value <= told["max"]:
        raise BadTuning(
            f"The hyperparameter {name} must be between {told['min']:g} and {told['max']:g} for {base.id}, not {text}."
        )


def read_rows(data: bytes, kind: str, what: str) -> Rows:
    """Every line an object of strings with the members of this kind of tuning and no others."""
    values = [_row(raw, number, kind, what) for number, raw in _lines(data)]
    if not values:
        raise BadTuning(f"The {what} dataset is empty.")
    return Rows(values, sum(len(text) for row in values for text in row.values()))


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, raw) for number, raw in enumerate(data.split(b"\n"), 1) if raw.strip())


def _row(raw: bytes, number: int, kind: str, what: str) -> dict[str, str]:
    wanted = MEMBERS[kind]
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise BadTuning(f"Line {number} of the {what} dataset is not valid JSON.") from error
    if not isinstance(found, dict) or set(found) != set(wanted):
        raise BadTuning(f"Line {number} of the {what} dataset must be a JSON object with exactly the keys {', '.join(wanted)}.")
    if not all(isinstance(value, str) and value.strip() for value in found.values()):
        raise BadTuning(f"Line {number} of the {what} dataset has a value that is empty or not a string.")
    return found


def check_count(base: Foundation, kind: str, count: int) -> None:
    most = base.most_records[kind]
    if count > most:
        raise BadTuning(f"The training and validation datasets have {count} records together; {base.id} allows {most}.")


def as_channel(rows: Rows, kind: str) -> tuple[str, bytes]:
    """Name and bytes of the file that the container reads: conversations, or text."""
    if kind == "CONTINUED_PRE_TRAINING":
        return "data.txt", "".join(row["input"] + "\n\n" for row in rows.values).encode()
    turns = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in rows.values
    ]
    return "data.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in turns).encode()


def steps_per_epoch(rows: Rows, chosen: dict[str, str]) -> int:
    return max(1, math.ceil(len(rows.values) / int(chosen["batchSize"])))


def container_parameters(base: Foundation, chosen: dict[str, str], training: Rows, validation: Rows | None) -> dict[str, str]:
    """Hyperparameters of the container that tunes the stand-in: the same epochs and batches, a learning rate in proportion."""
    default = float(document()["hyperparameters"][base.hyperparameters]["parameters"]["learningRate"]["default"])
    epoch = steps_per_epoch(training, chosen)
    steps = epoch * int(chosen["epochCount"])
    fewest = min(rows.characters for rows in (training, validation) if rows is not None)
    window = max(_WINDOWS[0], min(_WINDOWS[1], fewest // _CHARACTERS_PER_TOKEN))
    rate = _RATE * float(chosen["learningRate"]) / default
    return SHAPE | {
        "maxSteps": str(steps),
        "globalBatchSize": chosen["batchSize"],
        "microBatchSize": chosen["batchSize"],
        "sequenceLength": str(window),
        "learningRate": f"{rate:g}",
        "minLearningRate": f"{rate / 10:g}",
        "warmupSteps": chosen.get("learningRateWarmupSteps", str(min(40, steps // 10))),
        "validateEverySteps": str(epoch),
    }
