"""One call, made in a thread: what botocore answers or raises becomes an answer or one of our errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnection

from millrace.aws import failures
from millrace.aws.errors import CallError, Invalid, NoCredentials, Unavailable, Where
from millrace.aws.identity import Identity
from millrace.aws.sessions import Sessions

Answer = dict[str, Any]
Observer = Callable[[str, str, str, float], None]
"""Is told service, operation, code ("" for success) and seconds of each call."""
log = logging.getLogger(__name__)
_MOST_BYTES = 1024 * 1024
_READS = ("Describe", "List", "Get", "Head", "Receive", "BatchGet", "Search", "AssumeRole")


def as_user(region: str, endpoint_url: str = "") -> Caller:
    """Who calls with the credentials of whoever runs the command: botocore's own chain, and no role."""
    return Caller(Sessions(Identity(region, endpoint_url=endpoint_url), connections=2), lambda *_: None, lambda *_: None)


class Caller:
    """Makes calls as one identity; blocking, so it is used from threads only."""

    def __init__(self, sessions: Sessions, observe: Observer, unknown: Callable[[str, str], None]) -> None:
        self.sessions = sessions
        self._observe = observe
        self._unknown = unknown

    def call(self, service: str, operation: str, parameters: Answer, *, listening: bool = False) -> Answer:
        """Make one call. Raises CallError, and nothing else of botocore's."""
        begun = time.monotonic()
        code, request_id = "", ""
        try:
            client = self.sessions.client(service, listening=listening)
            answer: Answer = getattr(client, xform_name(operation))(**parameters)
            request_id = str(answer.pop("ResponseMetadata", {}).get("RequestId", ""))
            return _whole(answer)
        except (ClientError, BotoCoreError) as raised:
            error = self._typed(raised, service, operation)
            code, request_id = error.where.code, error.where.request_id
            raise error from raised
        finally:
            seconds = time.monotonic() - begun
            self._observe(service, operation, code, seconds)
            _log(service, operation, code, request_id, seconds)

    def _typed(self, raised: Exception, service: str, operation: str) -> CallError:
        if not isinstance(raised, ClientError):
            return from_client(raised, Where(service, operation))
        where, message = where_of(raised, service, operation)
        error, known = failures.understood(where, message, as_whom=self.sessions.identity.role_arn)
        if not known:
            self._unknown(service, where.code)
        return error


def _whole(answer: Answer) -> Answer:
    """With a streamed body read, on this thread; documents, not data: the operator moves none."""
    body: Any = answer.get("Body")
    if body is not None and hasattr(body, "read"):
        with body:
            answer["Body"] = body.read(_MOST_BYTES)
    return answer


def where_of(raised: ClientError, service: str, operation: str) -> tuple[Where, str]:
    """Which call an error is of, and what it says. A call may fail for the role that it needs first."""
    said = raised.response.get("Error", {})
    first = raised.operation_name == "AssumeRole" and operation != "AssumeRole"
    request_id = str(raised.response.get("ResponseMetadata", {}).get("RequestId", ""))
    named = ("sts", "AssumeRole") if first else (service, operation)
    return Where(*named, str(said.get("Code", "")), request_id), str(said.get("Message", ""))


def from_client(raised: Exception, where: Where) -> CallError:
    """What went wrong before AWS could answer."""
    match raised:
        case NoCredentialsError() | PartialCredentialsError():
            return NoCredentials(where, "the operator has no AWS credentials: give its service account a role")
        case ParamValidationError():
            return Invalid(where, f"{where}: {' '.join(str(raised).split())}")
        case HTTPClientError() | NoConnection():
            return failures.unreachable(where, type(raised).__name__)
        case _:
            return Unavailable(where, f"{where}: {' '.join(str(raised).split())}")


def _log(service: str, operation: str, code: str, request_id: str, seconds: float) -> None:
    level = logging.DEBUG if operation.startswith(_READS) and not code else logging.INFO
    log.log(level, "aws %s:%s %s in %.3f s, request %s", service, operation, code or "ok", seconds, request_id or "none")
