"""The catalogue of EC2 instance types: what a Kubernetes node of each type offers to pods.

It exists because a pod that asks for what the data sheet promises never schedules: the kubelet and the hypervisor take their part
first. The figures, their date and their sources are in instances.json beside this module; what no source states is None there.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any

_FILE = "instances.json"


class CatalogueError(Exception):
    """Base of what this module raises."""


class UnknownInstance(CatalogueError):
    """The catalogue has no such type; `similar` are the names closest to it."""

    def __init__(self, name: str, similar: tuple[str, ...]) -> None:
        super().__init__(f"no instance type {name!r} in the catalogue")
        self.name = name
        self.similar = similar


class CatalogueBroken(CatalogueError):
    """instances.json does not hold what this module expects."""


@dataclass(frozen=True)
class Instance:
    """One instance type. None means that the sources do not state the figure."""

    name: str
    accelerator: str | None
    """Name of the GPU or Neuron chip as Karpenter labels it, for example h100; None on a CPU type."""
    gpus: int
    """nvidia.com/gpu of a node."""
    neuron_devices: int
    """aws.amazon.com/neuron of a node."""
    neuron_cores: int
    """Physical NeuronCores of a node."""
    logical_neuron_cores: int
    """NeuronCores as a program sees them by default: one rank each."""
    gpu_memory_mib: int | None
    """Memory of one GPU, MiB."""
    vcpus: int | None
    memory_gib: float | None
    """Memory on the data sheet, GiB. Nothing may be requested from this figure."""
    efa: int | None
    """vpc.amazonaws.com/efa of a node with all its EFA interfaces."""
    network_gbps: float | None
    allocatable_cpu: int | None
    """CPU that pods can have, daemonsets included; millicores."""
    allocatable_memory: int | None
    """Memory that pods can have, daemonsets included; MiB."""
    architecture: str | None
    """As in the label kubernetes.io/arch."""

    @property
    def family(self) -> str:
        """What stands before the dot: p5en of p5en.48xlarge."""
        return self.name.split(".", 1)[0]

    @property
    def accelerated(self) -> bool:
        """Whether the type has GPUs or Neuron devices."""
        return self.gpus > 0 or self.neuron_devices > 0


def find(name: str) -> Instance | None:
    """The type of this name, or None where the catalogue has none. Raises CatalogueBroken."""
    return _catalogue().get(name)


def get(name: str) -> Instance:
    """The type of this name. Raises UnknownInstance, with the names closest to it, and CatalogueBroken."""
    found = find(name)
    if found is None:
        raise UnknownInstance(name, similar(name))
    return found


def names() -> tuple[str, ...]:
    """All names, in the order of the table. Raises CatalogueBroken."""
    return tuple(_catalogue())


def similar(name: str) -> tuple[str, ...]:
    """Up to four names that were probably meant: sizes of the same family where that is known, else names spelled alike."""
    family = name.split(".", 1)[0] + "."
    sizes = [known for known in names() if known.startswith(family)]
    return tuple(difflib.get_close_matches(name, sizes or names(), n=4, cutoff=0.0 if sizes else 0.6))


def about() -> dict[str, Any]:
    """Date, sources, units and assumptions of the figures."""
    return {key: value for key, value in _document().items() if key != "instances"}


@cache
def _catalogue() -> dict[str, Instance]:
    return {name: parse(name, row) for name, row in _document()["instances"].items()}


@cache
def _document() -> dict[str, Any]:
    document = json.loads(resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    if not isinstance(document, dict) or not isinstance(document.get("instances"), dict):
        raise CatalogueBroken(f"{_FILE} has no table `instances`")
    return document


def parse(name: str, row: dict[str, Any]) -> Instance:
    """One row of the table. Raises CatalogueBroken when a field is missing or unknown: a typo must not become a default."""
    expected = {field.name for field in fields(Instance)} - {"name"}
    if different := sorted(expected ^ set(row)):
        raise CatalogueBroken(f"{_FILE}: {name}: missing or unknown fields: {', '.join(different)}")
    return Instance(name=name, **row)
