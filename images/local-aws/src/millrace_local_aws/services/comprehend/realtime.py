"""ClassifyDocument: the endpoint's model answers, as fast as the endpoint's units allow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.meter import Meter
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import classifier_life, learning
from millrace_local_aws.services.comprehend.service import COMPREHEND, find, invalid, table, unavailable
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

CHARACTERS_PER_UNIT = 100
MOST_BYTES = 10_000
_NATIVE = (b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")


def _text(request: Input) -> str:
    """What is to be classified."""
    if ("Text" in request) == ("Bytes" in request):
        raise invalid("Specify either Text or Bytes, not both.")
    data = request["Text"].encode() if "Text" in request else bytes(request["Bytes"])
    if data.startswith(_NATIVE):
        raise NotServed("comprehend", "ClassifyDocument of a native document")
    if len(data) > MOST_BYTES:
        raise AwsError(
            "TextSizeLimitExceededException",
            f"Input text size exceeds limit. Max length of request text allowed is {MOST_BYTES} bytes while in this request the"
            f" text size is {len(data)} bytes.",
            400,
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise invalid("The document is not encoded as UTF-8.") from error


def _serving(call: Call, arn: str) -> Record:
    if ":aws:document-classifier-endpoint/" in arn:
        raise NotServed("comprehend", "ClassifyDocument with the prompt safety classifier")
    record = find(call, arn)
    if record["Status"] not in ("IN_SERVICE", "UPDATING"):
        raise unavailable(f"The specified endpoint is not available: its status is {record['Status']}.")
    return record


def _pace(call: Call, endpoint: Record, text: str) -> None:
    """Real time plus steps: clients wait by their own clocks."""
    per_second, now = endpoint["CurrentInferenceUnits"] * CHARACTERS_PER_UNIT, call.world.clock.wall()
    meter = call.world.meters.setdefault(endpoint["EndpointArn"], Meter.full(per_second, per_second, now))
    # A document may overdraw what one second gives: a unit serves long ones, too, but not one after the other.
    if not meter.at(now, per_second, per_second).overdraw(len(text)):
        raise AwsError("ThrottlingException", "Rate exceeded: the endpoint's inference units are used up.", 400)


def model(world: World, scope: str, arn: str) -> learning.Model:
    record = table(world, classifier_life.KIND).get(scope, arn)
    if record is None:
        raise unavailable("The endpoint's model is no longer available.")
    return learning.load(classifier_life.folder(world, record))


@COMPREHEND.operation("ClassifyDocument", resource=lambda call, request: str(request["EndpointArn"]))
async def classify_document(call: Call, request: Input) -> dict[str, Any]:
    text = _text(request)
    endpoint = _serving(call, request["EndpointArn"])
    _pace(call, endpoint, text)
    found, rows = await asyncio.to_thread(_answer, call.world, call.scope, endpoint["ModelArn"], text)
    paged = {"Page": 1} if "Bytes" in request else {}
    named = [{"Name": name, "Score": score} | paged for name, score in rows]
    return {"Labels" if found.mode == "MULTI_LABEL" else "Classes": named} | (_of_file(text) if paged else {})


def _answer(world: World, scope: str, arn: str, text: str) -> tuple[learning.Model, list[tuple[str, float]]]:
    found = model(world, scope, arn)
    return found, found.predicted([text])[0]


def _of_file(text: str) -> dict[str, Any]:
    """What is told of a document that came as bytes."""
    counted = {"Pages": 1, "ExtractedCharacters": [{"Page": 1, "Count": len(text)}]}
    return {"DocumentMetadata": counted, "DocumentType": [{"Page": 1, "Type": "PLAIN_TEXT"}]}
