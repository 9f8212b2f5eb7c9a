"""Where Bedrock itself keeps what it makes: a bucket of its own for each account and region, which no list shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_OWNER = "bedrock"


def bucket(world: World, scope: str) -> str:
    """Its name; containers of the account may read and write it."""
    account, region = scope.split("/")
    name = f"bedrock-models-{account}-{region}"
    if world.s3.buckets.get("", name) is None:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        record = {"name": name, "account": _OWNER, "region": region, "created": world.clock.wall(), "versioning": ""}
        world.s3.buckets.put("", name, record | {"configuration": {"policy": policy}, "tags": {}})
    return name


def clear(world: World, scope: str, prefix: str) -> None:
    """All below a prefix, for good."""
    for found in world.s3.keys(bucket(world, scope), prefix):
        world.s3.remove(found)
