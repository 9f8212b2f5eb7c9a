"""Who signed a request, and for which region and service. Signatures themselves are not verified (ADR 0007)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from millrace_local_aws.wire.incoming import Incoming

_CREDENTIAL = re.compile(r"Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request")


@dataclass(frozen=True)
class Signed:
    """The credential scope. An unsigned request has no key."""

    key: str | None = None
    region: str = "us-east-1"
    service: str | None = None
    token: str | None = None


def signed(request: Incoming) -> Signed:
    """From the Authorization header, or from a presigned URL of version 4 or 2."""
    header = request.headers.get("Authorization", "")
    token = request.headers.get("X-Amz-Security-Token") or request.query.get("X-Amz-Security-Token")
    found = _CREDENTIAL.search(header)
    if found:
        return Signed(found[1], found[3], found[4], token)
    if "X-Amz-Credential" in request.query:
        key, _, region, service, *_ = [*request.query["X-Amz-Credential"].split("/"), "", "", "", ""]
        return Signed(key, region or "us-east-1", service, token)
    if "AWSAccessKeyId" in request.query:
        return Signed(request.query["AWSAccessKeyId"], service="s3", token=request.query.get("x-amz-security-token"))
    if header.startswith("AWS "):
        return Signed(header[4:].partition(":")[0], service="s3", token=token)
    return Signed(token=token)
