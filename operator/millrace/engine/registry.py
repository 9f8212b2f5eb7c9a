"""Finds the kinds: every package named by an entry point of the group `millrace.controllers`, then its folders.

So a new kind is a folder in such a package (and an API module), and nothing else has to know of it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from importlib.metadata import entry_points

from millrace.engine.controller import Controller

GROUP = "millrace.controllers"
_EXTRA = "MILLRACE_CONTROLLER_PACKAGES"


def controllers() -> tuple[Controller, ...]:
    """All controllers, sorted by kind. MILLRACE_CONTROLLER_PACKAGES names further packages, separated by commas."""
    packages = {entry.value for entry in entry_points(group=GROUP)}
    packages |= {name for name in os.environ.get(_EXTRA, "").split(",") if name}
    found = [controller for package in sorted(packages) for controller in _in_package(package)]
    return tuple(sorted(found, key=lambda c: c.kind.name))


def _in_package(package: str) -> list[Controller]:
    module = importlib.import_module(package)
    names = [info.name for info in pkgutil.iter_modules(module.__path__) if info.ispkg]
    return [importlib.import_module(f"{package}.{name}").CONTROLLER for name in names]
