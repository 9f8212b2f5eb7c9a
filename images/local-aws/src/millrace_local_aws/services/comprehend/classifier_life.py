"""What happens to a classifier.

SUBMITTED -> TRAINING -> TRAINED, TRAINED_WITH_WARNING (documents were passed over) or IN_ERROR. It is really trained, while the
state lasts: where that takes longer than the state would, the state lasts longer.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace_local_aws.dataplane.scripted import archive
from millrace_local_aws.engine.durations import duration
from millrace_local_aws.engine.scheduler import action
from millrace_local_aws.services.comprehend import learning, tags
from millrace_local_aws.services.comprehend.documents import BadData
from millrace_local_aws.services.comprehend.service import table
from millrace_local_aws.services.comprehend.sources import NO_WRITE, Source, check_writable, read, sources
from millrace_local_aws.services.roles import split_uri
from millrace_local_aws.services.sagemaker import plans
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

KIND = "document-classifier"
USABLE = ("TRAINED", "TRAINED_WITH_WARNING")
ENDED = (*USABLE, "IN_ERROR", "STOPPED")
SKIPPED = "WARNING: Some documents of the training data could not be read and were skipped. See skipped_documents in the output."


def begin(world: World, scope: str, record: Record) -> None:
    """A new classifier."""
    record |= {"Status": "SUBMITTED", "SubmitTime": world.clock.now(), "_hash": secrets.token_hex(16)}
    record["_failure"] = plans.failure(world, "classifier", record["_name"])
    output = record.get("OutputDataConfig")
    if output:
        base = output["S3Uri"].rstrip("/")
        account = scope.partition("/")[0]
        record["_output"] = f"{base}/{account}-CLR-{record['_hash']}"
        record["OutputDataConfig"] = output | {"S3Uri": f"{record['_output']}/output/output.tar.gz"}
    save(world, scope, record)
    _after(world, scope, record, "SUBMITTED", "comprehend.classifier.train")


def begin_version(world: World, scope: str, record: Record) -> None:
    """A version that a flywheel trains: nobody waits for its turn."""
    now = world.clock.now()
    record |= {
        "Status": "TRAINING",
        "SubmitTime": now,
        "TrainingStartTime": now,
        "_hash": secrets.token_hex(16),
        "_failure": None,
    }
    save(world, scope, record)
    _begin_work(world, scope, record)


def save(world: World, scope: str, record: Record) -> None:
    table(world, KIND).put(scope, record["DocumentClassifierArn"], record)


def folder(world: World, record: Record) -> Path:
    """Where its model is kept."""
    return world.folder / "comprehend" / str(record["_hash"])


def _after(world: World, scope: str, record: Record, state: str, what: str) -> None:
    wait = duration(world, f"comprehend.classifier/{state}")
    world.scheduler.after(wait, what, scope=scope, arn=record["DocumentClassifierArn"])


def _current(world: World, scope: str, arn: str, *states: str) -> Record | None:
    record = table(world, KIND).get(scope, arn)
    return record if record is not None and record["Status"] in states else None


@action("comprehend.classifier.train")
def train(world: World, scope: str, arn: str) -> None:
    """It is its turn."""
    record = _current(world, scope, arn, "SUBMITTED")
    if record is not None:
        record |= {"Status": "TRAINING", "TrainingStartTime": world.clock.now()}
        save(world, scope, record)
        _begin_work(world, scope, record)


def _begin_work(world: World, scope: str, record: Record) -> None:
    """What can be told from S3 and IAM is told at once; the rest is learnt."""
    role, arn = record["DataAccessRoleArn"], record["DocumentClassifierArn"]
    try:
        if record["_failure"]:
            raise BadData(record["_failure"])
        found = sources_of(world, record)
        if "_output" in record:
            check_writable(world, role, record["_output"])
    except BadData as error:
        failed(world, scope, arn, str(error))
        return
    world.work.start(_learn(world, scope, arn, found, record["Mode"], folder(world, record)))


def sources_of(world: World, record: Record) -> list[Source]:
    """Of the request; a flywheel's version learns from all of its data sets."""
    role = record["DataAccessRoleArn"]
    if "_inputs" not in record:
        return sources(world, role, record["InputDataConfig"])
    told = [(test, sources(world, role, config)) for config, test in record["_inputs"]]
    return [replace(one, test=test) for test, found in told for one in found]


async def _learn(world: World, scope: str, arn: str, found: list[Source], mode: str, target: Path) -> None:
    try:
        outcome = await asyncio.to_thread(learnt, world, found, mode, target)
    except BadData as error:
        failed(world, scope, arn, str(error))
        return
    record = _current(world, scope, arn, "TRAINING")
    if record is None:
        shutil.rmtree(target, ignore_errors=True)
        return
    save(world, scope, record | {"_outcome": outcome})
    done = record["TrainingStartTime"] + duration(world, "comprehend.classifier/TRAINING")
    world.scheduler.at(max(done, world.clock.now()), "comprehend.classifier.finish", scope=scope, arn=arn)


def learnt(world: World, found: list[Source], mode: str, target: Path) -> dict[str, Any]:
    """What a training found, as JSON has it; in a thread of its own."""
    training, test = read(world, found, mode)
    skipped = training.skipped + (test.skipped if test else [])
    try:
        outcome = learning.train(training, test, mode, target)
    except ValueError as error:  # such as documents without a single word
        raise BadData(f"INVALID_INPUT: The training data cannot be learnt from: {error}.") from error
    return asdict(outcome) | {"labels": len(training.counts()), "skipped": skipped}


def failed(world: World, scope: str, arn: str, why: str) -> None:
    """For good."""
    record = _current(world, scope, arn, "SUBMITTED", "TRAINING")
    if record is not None:
        record |= {"Status": "IN_ERROR", "Message": why, "EndTime": world.clock.now()}
        save(world, scope, record)
        _tell_flywheel(world, scope, record)


@action("comprehend.classifier.finish")
def finish(world: World, scope: str, arn: str) -> None:
    """Trained: the metrics are told and the output is in S3."""
    record = _current(world, scope, arn, "TRAINING")
    if record is None:
        return
    outcome, now = record.pop("_outcome"), world.clock.now()
    if "_output" in record:
        try:
            _write(world, record["_output"], outcome)
        except AwsError:
            failed(world, scope, arn, NO_WRITE)
            return
    record |= {"Status": "TRAINED", "EndTime": now, "TrainingEndTime": now, "ClassifierMetadata": metadata(outcome)}
    if outcome["skipped"]:
        record |= {"Status": "TRAINED_WITH_WARNING", "Message": SKIPPED}
    save(world, scope, record)
    _tell_flywheel(world, scope, record)


def _tell_flywheel(world: World, scope: str, record: Record) -> None:
    """The iteration that a version was trained in goes on."""
    from millrace_local_aws.services.comprehend import iterations

    if "_iteration" in record:
        iterations.trained(world, scope, record)


def metadata(outcome: dict[str, Any]) -> dict[str, Any]:
    return {
        "NumberOfLabels": outcome["labels"],
        "NumberOfTrainedDocuments": outcome["trained"],
        "NumberOfTestDocuments": outcome["tested"],
        "EvaluationMetrics": outcome["metrics"],
    }


def _write(world: World, place: str, outcome: dict[str, Any]) -> None:
    """The confusion matrix in its archive, and beside it what was passed over."""
    bucket, key = split_uri(place)
    matrix = json.dumps(outcome["matrix"], ensure_ascii=False).encode()
    world.s3.put_bytes(bucket, f"{key}/output/output.tar.gz", archive({"output/confusion_matrix.json": matrix}))
    if outcome["skipped"]:
        lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in outcome["skipped"])
        world.s3.put_bytes(bucket, f"{key}/skipped_documents/skipped_documents.jsonl", lines.encode())


def stop(world: World, scope: str, record: Record) -> None:
    """What has ended stays as it is."""
    if record["Status"] in ("SUBMITTED", "TRAINING"):
        save(world, scope, record | {"Status": "STOP_REQUESTED"})
        _after(world, scope, record, "STOP_REQUESTED", "comprehend.classifier.stopped")


@action("comprehend.classifier.stopped")
def stopped(world: World, scope: str, arn: str) -> None:
    record = _current(world, scope, arn, "STOP_REQUESTED")
    if record is not None:
        record.pop("_outcome", None)
        record |= {"Status": "STOPPED", "EndTime": world.clock.now()}
        save(world, scope, record)
        _tell_flywheel(world, scope, record)


def delete(world: World, scope: str, record: Record) -> None:
    save(world, scope, record | {"Status": "DELETING"})
    _after(world, scope, record, "DELETING", "comprehend.classifier.deleted")


@action("comprehend.classifier.deleted")
def deleted(world: World, scope: str, arn: str) -> None:
    record = _current(world, scope, arn, "DELETING")
    if record is not None:
        table(world, KIND).drop(scope, arn)
        tags.drop(world, arn)
        world.store.after_commit(lambda: shutil.rmtree(folder(world, record), ignore_errors=True))


def resume(world: World) -> None:
    """After a restart: a training that was cut off begins again."""
    for scope, _, record in table(world, KIND).everything():
        if record["Status"] == "TRAINING" and "_outcome" not in record:
            _begin_work(world, scope, record)
