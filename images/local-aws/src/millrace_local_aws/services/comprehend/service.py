"""The service, and what its resources share: tables by ARN, lists, tokens of idempotency, roles, refusals."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.roles import assumable, check_passed
from millrace_local_aws.state.store import Record, Table
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

COMPREHEND = Service(
    "comprehend",
    "comprehend",
    target="Comprehend_20171127",
    invalid="InvalidRequestException",
    throttled=("TooManyRequestsException", 400),
    tagging="TagResource",
)
LANGUAGES = ("en", "es", "de", "it", "fr", "pt")
"""Of plain-text classifiers."""
MOST_TAGS = 50
_NOT_FOUND = "RESOURCE_NOT_FOUND: Could not find specified resource."


def invalid(message: str) -> AwsError:
    return AwsError("InvalidRequestException", message, 400)


def in_use(
    message: str = "The specified resource name is already in use. Use a different name and try your request again.",
) -> AwsError:
    return AwsError("ResourceInUseException", message, 400)


def unavailable(message: str) -> AwsError:
    return AwsError("ResourceUnavailableException", message, 400)


def over_limit(message: str) -> AwsError:
    return AwsError("ResourceLimitExceededException", message, 400)


def table(world: World, kind: str) -> Table:
    """Keys are ARNs, but for jobs, whose keys are ids."""
    return world.store.table(f"comprehend.{kind}")


def kind_of(arn: str) -> str:
    """The table that an ARN is in: a flywheel's dataset has an ARN below the flywheel's."""
    kind = arn.split(":", 5)[5].partition("/")[0]
    return "dataset" if "/dataset/" in arn else kind


def find(call: Call, arn: str) -> Record:
    """The record, or ResourceNotFoundException."""
    found = table(call.world, kind_of(arn)).get(call.scope, arn)
    if found is None:
        raise AwsError("ResourceNotFoundException", _NOT_FOUND, 400)
    return found


def view(record: Record) -> dict[str, Any]:
    """Without what is ours alone."""
    return {name: value for name, value in record.items() if not name.startswith("_") and value is not None}


def page(request: Input, records: list[Record], member: str, show: Callable[[Record], dict[str, Any]] = view) -> dict[str, Any]:
    """One page of a list."""
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 100)
    more = {"NextToken": str(start + size)} if start + size < len(records) else {}
    return {member: [show(record) for record in records[start : start + size]]} | more


def filtered(request: Input, records: list[Record], time: str, names: dict[str, str] | None = None) -> list[Record]:
    """Newest first, as a list's Filter asks; Comprehend takes one filter at a time, and a time filter has two ends."""
    wanted = request.get("Filter") or {}
    if len({name.removesuffix("Before").removesuffix("After") for name in wanted}) > 1:
        raise AwsError("InvalidFilterException", "Only one filter may be set at a time.", 400)
    renamed = {(names or {}).get(name, name): value for name, value in wanted.items()}
    after, before = renamed.pop(f"{time}After", 0.0), renamed.pop(f"{time}Before", float("inf"))
    found = [
        record
        for record in records
        if after <= record[time] <= before and all(record.get(name) == value for name, value in renamed.items())
    ]
    return sorted(found, key=lambda record: -float(record[time]))


def replayed(call: Call, request: Input) -> Any:
    """What the same request was answered with before; None for a new one."""
    token = request.get("ClientRequestToken")
    seen = table(call.world, "token").get(call.scope, f"{call.operation}/{token}") if token else None
    if seen is None:
        return None
    if seen["digest"] != _digest(request):
        raise invalid("The client request token was used before, with other parameters.")
    return seen["answer"]


def remember(call: Call, request: Input, answer: dict[str, Any]) -> dict[str, Any]:
    """For `replayed`."""
    token = request.get("ClientRequestToken")
    if token:
        record = {"digest": _digest(request), "answer": answer}
        table(call.world, "token").put(call.scope, f"{call.operation}/{token}", record)
    return answer


def stamp(now: float) -> str:
    """As Comprehend names what it makes in a data lake."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _digest(request: Input) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def check_role(call: Call, role_arn: str, source_arn: str) -> None:
    """Comprehend must be able to take the role on, and the caller must be allowed to hand it over."""
    check_passed(call, role_arn, "comprehend")
    if not assumable(call, role_arn, "comprehend", source_arn):
        raise invalid(
            f"The specified role could not be assumed: {role_arn}. Check that the role exists and that its trust policy allows"
            " comprehend.amazonaws.com to assume it."
        )


def check_tags(request: Input) -> None:
    if len(request.get("Tags") or []) > MOST_TAGS:
        raise AwsError(
            "TooManyTagsException",
            f"The request contains more tags than can be associated with a resource ({MOST_TAGS} per resource).",
            400,
        )
