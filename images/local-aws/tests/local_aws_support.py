"""What tests of local-aws share: refusals, and policy documents."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError


class refused:
    """`with refused("Code") as caught:` and then `caught.message`."""

    def __init__(self, code: str) -> None:
        self._code = code
        self.message = ""
        self.status = 0

    def __enter__(self) -> refused:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        assert isinstance(error, ClientError), f"expected {self._code}, got {error!r}"
        assert error.response["Error"]["Code"] == self._code, error
        self.message = error.response["Error"]["Message"]
        self.status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return True


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(principal: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", **more}
