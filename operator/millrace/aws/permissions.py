"""What the role of a CloudAccount must be allowed for each feature: data that kinds declare, and the policies made of it.

tests/aws/test_permissions.py holds it against the calls in the code, and runs each feature with nothing else allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
PLACEHOLDERS = {
    "REGION": "the region, as us-east-1",
    "ACCOUNT": "the AWS account's number",
    "BUCKET": "the bucket of the TrainingJobs' output, or of the Datasets",
    "EXECUTION-ROLE": "the name of the role in the spec, which SageMaker takes on (`roleARN`)",
    "QUEUE": "the name of the queue in spec.events.queueURL",
}


@dataclass(frozen=True)
class Grant:
    """One statement of a policy."""

    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    implied: tuple[str, ...] = ()
    """Actions that no call of ours has the name of, but AWS asks for with those that have."""
    passed_to: str = ""
    """The only service that a role may be passed to."""


@dataclass(frozen=True)
class Feature:
    """What one use needs, on top of the others of its kind that are named in `beside`."""

    name: str
    grants: tuple[Grant, ...]
    beside: tuple[str, ...] = ()
    note: str = ""


def policy(features: tuple[Feature, ...], known: Mapping[str, str] | None = None) -> Object:
    """A policy document of all these; placeholders are replaced by what is known."""
    grants = [grant for feature in features for grant in feature.grants]
    return {"Version": "2012-10-17", "Statement": [_statement(grant, known or {}) for grant in grants]}


def _statement(grant: Grant, known: Mapping[str, str]) -> Object:
    made: Object = {
        "Effect": "Allow",
        "Action": sorted((*grant.actions, *grant.implied)),
        "Resource": [_filled(resource, known) for resource in grant.resources],
    }
    if grant.passed_to:
        made["Condition"] = {"StringEquals": {"iam:PassedToService": grant.passed_to}}
    return made


def _filled(resource: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        resource = resource.replace(name, value)
    return resource


def with_beside(feature: Feature, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """A feature and what it comes on top of."""
    return (*(each for each in features if each.name in feature.beside), feature)
