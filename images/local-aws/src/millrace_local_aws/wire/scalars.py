"""Timestamps and blobs as the protocols write them. Inside, a time is seconds since 1970 and a blob is bytes."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

from millrace_local_aws.wire.errors import BadRequest


def time_from(text: str | int | float) -> float:
    """From a number, an ISO 8601 or an HTTP date."""
    if isinstance(text, (int, float)):
        return float(text)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return _iso(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{text!r} is no time") from error


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso(moment: float, *, millis: bool = True) -> str:
    """As 2026-01-31T10:00:00.000Z, or without the fraction."""
    stamp = datetime.fromtimestamp(moment, UTC)
    fraction = f".{stamp.microsecond // 1000:03d}" if millis else ""
    return f"{stamp:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def time_to(moment: float, style: str) -> str | float:
    """In the protocol's style: unixTimestamp, iso8601 or rfc822."""
    if style == "unixTimestamp":
        return round(moment, 3)
    return formatdate(moment, usegmt=True) if style == "rfc822" else iso(moment)


def blob_from(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError) as error:
        raise BadRequest("a blob is not base64") from error


def blob_to(value: bytes) -> str:
    return base64.b64encode(value).decode()
