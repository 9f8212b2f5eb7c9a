"""OpenID Connect providers: whose tokens the account's roles may trust."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.iam import common
from millrace_local_aws.services.iam.common import IAM
from millrace_local_aws.state.store import Record, Table
from millrace_local_aws.wire.errors import AwsError


def _table(call: Call) -> Table:
    return call.world.store.table("iam.oidc-provider")


def _arn(call: Call, request: Input) -> str:
    return str(request["OpenIDConnectProviderArn"])


def _found(call: Call, request: Input) -> Record:
    arn = _arn(call, request)
    record = _table(call).get(call.account, arn)
    if record is None:
        raise AwsError("NoSuchEntity", f"OpenIDConnect Provider not found for arn {arn}", 404)
    return record


@IAM.operation("CreateOpenIDConnectProvider")
def create_provider(call: Call, request: Input) -> dict[str, Any]:
    scheme, _, issuer = request["Url"].partition("://")
    if scheme != "https" or not issuer:
        raise AwsError("InvalidInput", "Invalid Open ID Connect Provider URL", 400)
    arn = f"arn:aws:iam::{call.account}:oidc-provider/{issuer}"
    if _table(call).get(call.account, arn) is not None:
        raise AwsError("EntityAlreadyExists", f"Provider with url {request['Url']} already exists.", 409)
    record = {
        "Url": issuer,
        "ClientIDList": request.get("ClientIDList", []),
        "ThumbprintList": request.get("ThumbprintList", []),
        "CreateDate": float(int(call.world.clock.wall())),
        "tags": common.tag_map(request),
    }
    _table(call).put(call.account, arn, record)
    return {"OpenIDConnectProviderArn": arn}


@IAM.operation("GetOpenIDConnectProvider", resource=_arn)
def get_provider(call: Call, request: Input) -> dict[str, Any]:
    record = _found(call, request)
    shown = {name: value for name, value in record.items() if name != "tags"}
    return shown | ({"Tags": common.tags_of(record)} if record["tags"] else {})


@IAM.operation("ListOpenIDConnectProviders")
def list_providers(call: Call, request: Input) -> dict[str, Any]:
    return {"OpenIDConnectProviderList": [{"Arn": arn} for arn in sorted(_table(call).keys(call.account))]}


@IAM.operation("DeleteOpenIDConnectProvider", resource=_arn)
def delete_provider(call: Call, request: Input) -> None:
    """One that is not there is gone, too."""
    _table(call).drop(call.account, _arn(call, request))
