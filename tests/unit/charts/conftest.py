"""Renders the charts with the very Helm that installs them: text checks of templates would miss what Helm makes of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.cli.local.builds import HELM, ensure_tool
from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import KUBERNETES_VERSION

ROOT = Path(__file__).parents[3]
Object = dict[str, Any]


class Refused(Exception):
    """Helm did not render."""


@pytest.fixture(scope="session")
def helm() -> Path:
    """Our own build, made once and kept in the cache."""
    try:
        return ensure_tool(HELM)
    except LocalError as error:
        pytest.skip(f"{error.message} {error.fix}")


@pytest.fixture(scope="session")
def render(helm: Path) -> Callable[..., list[Object]]:
    """Manifests of a chart for values in Helm's --set notation. Raises Refused with what Helm said."""

    def rendered(chart: str, *values: str, namespace: str = "millrace-system", name: str = "millrace") -> list[Object]:
        command = [str(helm), "template", name, str(ROOT / "charts" / chart), "--namespace", namespace]
        command += ["--kube-version", KUBERNETES_VERSION, *(part for value in values for part in ("--set", value))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise Refused(done.stderr)
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    rendered.refused = Refused  # type: ignore[attr-defined]
    return rendered
