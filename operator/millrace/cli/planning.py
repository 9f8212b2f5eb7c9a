"""What a manifest would do: the API server's own judgement of the object (a dry run), and the kind's pure plan of its children.

Without a cluster the typed models judge: types, names of fields and patterns, but not the CEL rules.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import ValidationError

from millrace.api.common import GROUP, Model
from millrace.api.schema import structural
from millrace.cli import ahead
from millrace.cli.cluster import Connection, Target, connected, kind_named
from millrace.cli.generators.text import to_yaml
from millrace.cli.problems import Exit, Problem
from millrace.data.prices import Prices
from millrace.engine.controller import Controller
from millrace.engine.settings import from_environment
from millrace.kube.credentials import NoCluster
from millrace.kube.errors import ApiError, Invalid, NotFound
from millrace.kube.resources import Resource, of_kind

Object = dict[str, Any]
_UNKNOWN_UID = "xxxxxx00-0000-0000-0000-000000000000"
"""For objects that do not exist yet: their children's names show x where the uid's first digits will be."""
_NOISE = re.compile(r'<nil>: |Invalid value: "(?:object|array)": ')
_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Change:
    """One difference of a field: dotted path, then both values (None: not there)."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {_short(self.after)}"
        if self.after is None:
            return f"- {self.path}: {_short(self.before)}"
        return f"~ {self.path}: {_short(self.before)} -> {_short(self.after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:99] + "…"


def manifests(path: Path) -> Iterator[Object]:
    """All documents of a file, a folder (by name, one level) or standard input. Raises Problem where nothing is there."""
    if str(path) == "-":
        yield from _documents(sys.stdin.read())
        return
    files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise Problem(f"{path} holds no manifests", "Files must end in .yaml, .yml or .json.", Exit.USAGE)
    for file in files:
        yield from _documents(file.read_text())


def _documents(text: str) -> Iterator[Object]:
    """A List is taken apart, as kubectl does."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict):
            yield from document["items"] if document.get("kind") == "List" else [document]


def is_ours(manifest: Mapping[str, Any]) -> bool:
    """Whether it is of one of our kinds; other manifests of a folder are none of our business."""
    return str(manifest.get("apiVersion", "")).startswith(f"{GROUP}/")


def differences(before: Any, after: Any, path: str = "spec") -> Iterator[Change]:
    """Leaves that differ; lists are compared whole where their lengths differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{number}]")
    elif before != after:
        yield Change(path, before, after)


def problems(manifest: Object, model: type[Model]) -> list[str]:
    """What is wrong with a spec by its typed model, a line a field; unknown fields too, which the API server would drop."""
    spec = manifest.get("spec")
    if not isinstance(spec, dict):
        return ["spec: is missing"]
    wrong = [f"{path}: unknown field" for path in _unknown(spec, structural(model), "spec")]
    try:
        model.model_validate(spec)
    except ValidationError as error:
        wrong += [f"{_dotted(('spec', *e['loc']))}: {e['msg']}" for e in error.errors()]
    return wrong


def _dotted(parts: tuple[int | str, ...]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")


def _unknown(given: Any, schema: Object, path: str) -> Iterator[str]:
    if isinstance(given, dict) and "properties" in schema:
        for key, value in given.items():
            if key not in schema["properties"]:
                yield f"{path}.{key}"
            else:
                yield from _unknown(value, schema["properties"][key], f"{path}.{key}")
    elif isinstance(given, list):
        for number, one in enumerate(given):
            yield from _unknown(one, schema.get("items", {}), f"{path}[{number}]")


@dataclass(frozen=True)
class Planned:
    """What would become of one object: the object as it would be stored, and how it differs from what is there."""

    obj: Object
    exists: bool
    changes: tuple[Change, ...] = ()


async def dry_run(connection: Connection, controller: Controller, manifest: Object) -> Planned:
    """The API server's judgement; nothing is stored. Raises Invalid."""
    resource = of_kind(controller.kind)
    metadata = manifest["metadata"]
    live = await connection.client.find(resource, metadata["namespace"], metadata["name"])
    flags = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "millrace-plan"}
    if live is None:
        made = await connection.client.raw("POST", resource.path(metadata["namespace"]), manifest, **flags)
        return Planned({**made, "metadata": {**made["metadata"], "uid": _UNKNOWN_UID}}, exists=False)
    wanted = {**manifest, "metadata": {**live["metadata"], **metadata}}
    made = await connection.client.raw("PUT", resource.path(metadata["namespace"], metadata["name"]), wanted, **flags)
    return Planned(made, exists=True, changes=tuple(differences(live["spec"], made["spec"])))


def assumed(controller: Controller, manifest: Object) -> Planned:
    """The same without a cluster: what the typed model makes of it. Raises Problem."""
    wrong = problems(manifest, controller.kind.spec)
    if wrong:
        raise Problem("\n".join(wrong))
    spec = controller.kind.spec.model_validate(manifest["spec"]).model_dump(by_alias=True, exclude_none=True)
    return Planned({**manifest, "metadata": {**manifest["metadata"], "uid": _UNKNOWN_UID}, "spec": spec}, exists=False)


async def run(target: Target, file: Path, offline: bool, full: bool) -> int:
    """The whole command; gives the number of objects that would be refused."""
    found = [m for m in manifests(file) if is_ours(m)]
    if not found:
        raise Problem(f"{file} holds no objects of {GROUP}", "Check the path; other kinds are left out.", Exit.USAGE)
    async with AsyncExitStack() as stack:
        connection = None if offline else await _reachable(stack, target)
        return sum([await _one(connection, manifest, target.namespace, full, found) for manifest in found])


async def _reachable(stack: AsyncExitStack, target: Target) -> Connection | None:
    try:
        return await stack.enter_async_context(connected(target))
    except NoCluster as error:
        if target.context or target.kubeconfig:
            raise
        typer.echo(f"{error}\nWithout a cluster only fields are checked, not rules.\n", err=True)
        return None


async def _one(connection: Connection | None, manifest: Object, namespace: str | None, full: bool, found: list[Object]) -> bool:
    """Plan and print one object; True where it would be refused."""
    controller = kind_named(str(manifest.get("kind", "")))
    named = {**(manifest.get("metadata") or {})}
    if not named.get("name"):
        raise Problem(f"a {controller.kind.name} has no metadata.name", "Every object needs one.", Exit.USAGE)
    named["namespace"] = namespace or named.get("namespace") or (connection.namespace if connection else "default")
    who = f"{controller.kind.singular}/{named['name']}"
    try:
        planned = await _planned(connection, controller, {**manifest, "metadata": named})
    except (Invalid, Problem) as refusal:
        typer.echo(f"{who}: would be refused\n" + _indented(_said(refusal)))
        return True
    typer.echo(f"{who}: {_verdict(planned)}")
    for change in planned.changes:
        typer.echo(f"  {change}")
    await _children(connection, controller, planned, full)
    await _costs(connection, controller, planned.obj, found)
    return False


async def _costs(connection: Connection | None, controller: Controller, obj: Object, found: list[Object]) -> None:
    """What it would cost; the region is asked for only where something is paid for."""
    prices = Prices(from_environment().aws.prices_file)
    if controller.estimate(obj, lambda _use, _type: None) is None:
        return
    region = await ahead.region_of(connection, obj, found)
    for line in ahead.lines(controller, obj, region, prices):
        typer.echo(f"  {line}")


async def _planned(connection: Connection | None, controller: Controller, manifest: Object) -> Planned:
    if connection is None:
        return assumed(controller, manifest)
    try:
        return await dry_run(connection, controller, manifest)
    except NotFound as error:
        missing = "namespace" if "namespaces" in error.message else "kind"
        raise Problem(f"{error.message}\nthe {missing} is not there: create or install it first, or use --offline") from error


def _said(refusal: Invalid | Problem) -> str:
    """Without what the API server says around it: the whole name first, and for a rule that its value is an object."""
    text = refusal.message.partition(" is invalid: ")[2] or refusal.message
    return _NOISE.sub("", text)


def _verdict(planned: Planned) -> str:
    if not planned.exists:
        return "would be created"
    return f"would change in {len(planned.changes)} field(s)" if planned.changes else "is as it should be"


async def _children(connection: Connection | None, controller: Controller, planned: Planned, full: bool) -> None:
    """What the kind's own plan makes of the object; the same code that the operator acts by."""
    for child in controller.preview(planned.obj, from_environment()):
        there = await _is_there(connection, controller, child) if planned.exists else False
        name = child["metadata"]["name"].replace("xxxxxx", "‹uid›")
        typer.echo(f"  {'exists' if there else 'create'}  {child['kind']}/{name}{_gist(child)}")
        if full:
            typer.echo(_indented(to_yaml(child), "      "))


async def _is_there(connection: Connection | None, controller: Controller, child: Object) -> bool:
    resource = next((r for r in controller.children if r.kind == child["kind"]), None)
    if connection is None or resource is None:
        return False
    return await _found(connection, resource, child["metadata"])


async def _found(connection: Connection, resource: Resource, metadata: Object) -> bool:
    try:
        return await connection.client.find(resource, metadata["namespace"], metadata["name"]) is not None
    except ApiError:
        return False


def _gist(child: Object) -> str:
    """What matters most about a child that runs pods: how many, and what each asks for."""
    spec = child.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or (spec if "containers" in spec else None)
    if not pod:
        return ""
    main = pod["containers"][0]
    asks = (main.get("resources") or {}).get("requests") or {}
    asked = ", ".join(f"{name} {amount}" for name, amount in sorted(asks.items()))
    return f"  {spec.get('parallelism', 1)} pod(s) of {main['image']}" + (f": {asked}" if asked else "")


def _indented(text: str, by: str = "  ") -> str:
    return "\n".join(f"{by}{line}" for line in text.strip().splitlines())
