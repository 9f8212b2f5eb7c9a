"""`docs/iam.md`: the least that a CloudAccount's role must be allowed, feature by feature, as policies to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from millrace.aws import permissions
from millrace.aws.permissions import Feature
from millrace.cli.generators.text import GENERATED, table
from millrace.engine.controller import Controller

PATH = "docs/iam.md"
_INTRO = """\
What the role of a [CloudAccount](kinds/cloudaccount.md) must be allowed, for each use; a role gets the policies of those that it
is used for. Nothing else is called: tests hold this page against the calls in the code, and run each use with nothing else
allowed. What is missing in an account stands in `status.missingIAMActions` and in the message of whatever waits for it.

The role itself must trust whoever runs the operator, with the external id in the CloudAccount's `status.trust`; the operator's
own identity needs `sts:AssumeRole` on it and nothing else. `millrace logs` reads as you, not as the role:
`logs:DescribeLogStreams` and `logs:GetLogEvents` on `/aws/sagemaker/*`."""


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """The page of permissions."""
    named = table(("Placeholder", "Stands for"), [(f"`{name}`", text) for name, text in permissions.PLACEHOLDERS.items()])
    parts = [f"# Permissions on AWS\n\n<!-- {GENERATED} -->\n\n{_INTRO}", named.strip()]
    parts += [_section(feature) for controller in controllers for feature in controller.aws]
    return {PATH: "\n\n".join(parts) + "\n"}


def _section(feature: Feature) -> str:
    said = [f"## {feature.name}"]
    if feature.beside:
        said.append(f"Beside {', '.join(f'*{name}*' for name in feature.beside)}.")
    implied = sorted({action for grant in feature.grants for action in grant.implied})
    if implied:
        said.append(f"AWS asks for {', '.join(f'`{action}`' for action in implied)} with other calls; none of ours has the name.")
    if feature.note:
        said.append(feature.note)
    return "\n\n".join([*said, f"```json\n{json.dumps(permissions.policy((feature,)), indent=2)}\n```"])
