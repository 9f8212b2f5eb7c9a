"""The run record in S3: an object that is made again finds by it that its run is done. And the model, read back. Mostly pure."""

from __future__ import annotations

import base64
import json
from typing import Any

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace_controllers.trainingjob.backends.kubernetes import layout
from millrace_controllers.trainingjob.backends.sagemaker import request

Object = dict[str, Any]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def place(owner: Object, spec: TrainingJobSpec) -> tuple[str, str]:
    """Bucket and key of the record: by the object's namespace and name, for the one made again has another uid."""
    metadata = owner["metadata"]
    return bucket_and_key(f"{request.base(spec)}/.millrace/{metadata['namespace']}/{metadata['name']}.json")


def made(owner: Object, spec: TrainingJobSpec, report: Object) -> bytes:
    """The record of a run whose model was read back."""
    told = {"schema": 1, "uid": owner["metadata"]["uid"], **identity(spec), "report": report}
    return json.dumps(told, sort_keys=True).encode()


def identity(spec: TrainingJobSpec) -> Object:
    """What makes two runs the same."""
    return {"runID": spec.run_id or "", "specDigest": layout.spec_digest(spec)}


def of_this_run(body: bytes, spec: TrainingJobSpec) -> Object | None:
    """The record, where it is of this very run."""
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("report"), dict):
        return None
    return told if identity(spec).items() <= told.items() else None


def report(uid: str, model_uri: str, head: Object, metrics: Object) -> Object:
    """What the read-back says of the model; SageMaker packs it into one file."""
    size = int(head.get("ContentLength") or 0)
    if size <= 0:
        return {"ok": False, "reason": "OutputEmpty", "message": f"the model {model_uri} is empty"}
    model = {"uri": model_uri, "digest": digest(head), "bytes": size, "files": 1}
    return {"ok": True, "schema": 1, "recordUID": uid, "model": model, "metrics": metrics}


def missing(model_uri: str) -> Object:
    """The job completed, but its model is not where it says."""
    return {"ok": False, "reason": "OutputEmpty", "message": f"the training job completed, but there is no model at {model_uri}"}


def digest(head: Object) -> str:
    """SHA-256 where S3 holds one, else the entity tag, which is S3's name of the content."""
    told = head.get("ChecksumSHA256")
    if told and "-" not in told:
        return f"sha256:{base64.b64decode(told).hex()}"
    return f"etag:{str(head.get('ETag') or '').strip(chr(34))}"
