"""The run record: written last, it says that a run is complete, so that a re-created object does not train again."""

import json
from collections.abc import Mapping
from typing import Any

from millrace_trainer.checkpoint import Pointer
from millrace_trainer.clock import now
from millrace_trainer.context import Context
from millrace_trainer.files import hash_tree, tree_digest, write_json
from millrace_trainer.progress import jsonable

RECORD = "run.json"
MODEL = "model"


def already_done(context: Context) -> bool:
    """Whether this very run (runID and spec digest) is recorded and its model is there, unchanged."""
    try:
        record = json.loads((context.output / RECORD).read_text(encoding="utf-8"))
        if (record["runID"], record["specDigest"]) != (context.run_id, context.spec_digest):
            return False
        model = record["model"]
        return bool(tree_digest(hash_tree(context.output / model["path"])) == model["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_record(context: Context, metrics: Mapping[str, float], pointer: Pointer) -> None:
    """Describe the model folder as it lies on disk and declare the run complete."""
    entries = hash_tree(context.output / MODEL)
    record: dict[str, Any] = {
        "schema": 1,
        "name": context.job,
        "namespace": context.namespace,
        "uid": context.uid,
        "runID": context.run_id,
        "specDigest": context.spec_digest,
        "attempt": context.attempt,
        "steps": pointer.step,
        "completedAt": now(),
        "metrics": {name: jsonable(value) for name, value in metrics.items()},
        "model": {
            "path": MODEL,
            "digest": tree_digest(entries),
            "files": len(entries),
            "bytes": sum(entry.bytes for entry in entries.values()),
        },
        "checkpoint": {"step": pointer.step, "path": pointer.path},
    }
    write_json(context.output / RECORD, record)
