"""Resolves a run's inputs to files on claims or in S3, and pins them. Pure.

A Dataset that changes later changes nothing of a started run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace.api.v1alpha1.dataset_rows import published_format
from millrace.api.v1alpha1.trainingjob import TrainingInput
from millrace.engine.conditions import is_true
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]
Lookup = Callable[[str], Object | None]
_CLAIM = "claim://"


class NotReady(Exception):
    """An input cannot be resolved yet; the message says which and why."""


def resolve(
    inputs: list[TrainingInput] | None, pinned: Object | None, lookup: Lookup, *, from_s3: bool = False
) -> tuple[ResolvedInput, ...]:
    """Every input as what will be read. `pinned` is status.lineage; `lookup` finds Datasets by name; `from_s3` says that the run
    reads S3, and no claims. Raises NotReady."""
    held = {i["name"]: i for i in (pinned or {}).get("inputs") or ()}
    return tuple(_pinned(i, held[i.name], lookup) if i.name in held else _one(i, lookup, from_s3) for i in inputs or ())


def _pinned(wanted: TrainingInput, held: Object, lookup: Lookup) -> ResolvedInput:
    place = str(held["path"])
    on_claim = place.startswith(_CLAIM)
    claim, _, path = place.removeprefix(_CLAIM).partition("/") if on_claim else ("", "", place)
    found = lookup(wanted.dataset_ref.name) if wanted.dataset_ref else None
    format_ = published_format(found["spec"]) if found else ""
    return ResolvedInput(wanted.name, claim, path, format_, held.get("dataset"), held.get("digest"))


def _one(wanted: TrainingInput, lookup: Lookup, from_s3: bool) -> ResolvedInput:
    if wanted.claim is not None:
        return ResolvedInput(wanted.name, wanted.claim.name, wanted.claim.path)
    if wanted.uri is not None:
        return ResolvedInput(wanted.name, "", wanted.uri)
    assert wanted.dataset_ref is not None
    name = wanted.dataset_ref.name
    found = lookup(name)
    if found is None:
        raise NotReady(f"input {wanted.name!r}: Dataset {name!r} does not exist")
    if not is_true(found, "Ready"):
        raise NotReady(f"input {wanted.name!r}: Dataset {name!r} is not Ready")
    made = _from_dataset(wanted, found)
    if from_s3 is bool(made.claim):
        where, target = ("a claim", "s3") if made.claim else ("S3", "claim")
        raise NotReady(
            f"input {wanted.name!r}: Dataset {name!r} is on {where}, which this run cannot read: set its publish.{target}"
        )
    return made


def _from_dataset(wanted: TrainingInput, found: Object) -> ResolvedInput:
    name, spec, status = found["metadata"]["name"], found["spec"], found["status"]
    splits = {s["name"]: s for s in status.get("splits") or ()}
    if not splits and wanted.split:
        raise NotReady(f"input {wanted.name!r}: Dataset {name!r} has no splits: it is read where it is")
    if not splits and "s3" in spec["source"]:
        raise NotReady(f"input {wanted.name!r}: Dataset {name!r} is a place in S3 that others write to: set its publish.s3")
    if not splits:
        source = spec["source"]["claim"]
        return ResolvedInput(wanted.name, source["name"], source.get("path", ""), spec["format"], name, status["digest"])
    chosen = wanted.split or ("data" if "data" in splits else wanted.name)
    if chosen not in splits:
        raise NotReady(f"input {wanted.name!r}: Dataset {name!r} has no split {chosen!r}, but {', '.join(sorted(splits))}")
    part = splits[chosen]
    claim, path = part.get("claim", ""), part.get("uri") or part["path"]
    return ResolvedInput(wanted.name, claim, path, published_format(spec), name, status["digest"])
