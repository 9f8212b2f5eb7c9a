"""CustomResourceDefinitions: `crds/` for people and tools, and copies that the chart millrace-crds installs and keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millrace.api.resource import Kind
from millrace.api.schema import crd
from millrace.cli.generators.text import GENERATED, to_yaml
from millrace.engine.controller import Controller

FOLDERS = ("crds", "charts/millrace-crds/templates")


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """One file a kind in each of the two folders."""
    made: dict[str, str] = {}
    for controller in controllers:
        name = f"{controller.kind.group}_{controller.kind.plural}.yaml"
        made[f"crds/{name}"] = f"# {GENERATED}\n{to_yaml(crd(controller.kind))}"
        made[f"charts/millrace-crds/templates/{name}"] = _template(controller.kind)
    return made


def _template(kind: Kind) -> str:
    """A CRD as a chart's template: kept on uninstall, for with the CRD would go every object of the kind."""
    manifest: dict[str, Any] = crd(kind)
    manifest["metadata"] = {**manifest["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}
    return f"# {GENERATED}\n" + to_yaml(manifest).replace("{{", '{{ "{{" }}')
