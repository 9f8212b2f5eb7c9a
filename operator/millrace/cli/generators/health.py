"""`argocd/`: a health check a kind, in the layout that Argo CD keeps such checks in, and the setting that installs them all.

Argo CD runs each check alone, without imports: the one source (health.lua, beside this module) is written out for every kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from millrace.api.resource import Kind
from millrace.cli.generators.text import GENERATED
from millrace.engine.controller import Controller

_SOURCE = Path(__file__).with_name("health.lua")
CONFIG = "argocd/argocd-cm.yaml"


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """health.lua of each kind, and a ConfigMap patch with all of them."""
    checks = {c.kind: script(c) for c in controllers}
    made = {f"argocd/resource_customizations/{k.group}/{k.name}/health.lua": text for k, text in checks.items()}
    made[CONFIG] = f"# {GENERATED}\n# kubectl -n argocd patch configmap argocd-cm --patch-file argocd/argocd-cm.yaml\n" + _config(
        checks
    )
    return made


def script(controller: Controller) -> str:
    """The check of one kind."""
    resting = ", ".join(f'["{reason.name}"] = true' for reason in controller.resting)
    text = _SOURCE.read_text().replace("@SUMMARY@", controller.kind.summary)
    return f"-- {GENERATED}\n" + text.replace("{ @RESTING@ }", f"{{ {resting} }}" if resting else "{}")


class _Block(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people would."""


def _block(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Block.add_representer(str, _block)


def _config(checks: dict[Kind, str]) -> str:
    data = {f"resource.customizations.health.{kind.group}_{kind.name}": text for kind, text in checks.items()}
    return str(yaml.dump({"data": data}, Dumper=_Block, sort_keys=False, width=200))
