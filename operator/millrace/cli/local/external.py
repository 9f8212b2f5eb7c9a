"""`millrace local up --context NAME`: a cluster that the person has. It is checked and given images, never changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.images import buildah, ensure_image
from millrace.cli.local.packages import find
from millrace.cli.local.programs import run
from millrace.cli.local.progress import Steps

_PUSH_SECONDS = 3600.0


def check_and_push(context: str, storage_class: str | None, registry: str | None, images: Sequence[str]) -> list[str]:
    """The images' names in the registry."""
    if not storage_class:
        raise LocalError("--context needs a ReadWriteMany storage class", "Name it: --storage-class NAME.")
    if not registry:
        raise LocalError("--context needs a registry that the cluster pulls from", "Name it: --registry HOST/PATH.")
    steps = Steps(2 + len(images))
    with steps.step(f"Reaching the cluster of context {context}"):
        kubectl(context, ["get", "--raw", "/readyz"], f"reach the cluster of context {context}")
    with steps.step(f"Looking for storage class {storage_class}"):
        kubectl(context, ["get", "storageclass", storage_class], f"find storage class {storage_class}")
    return [_push(steps, registry, name) for name in images]


def _push(steps: Steps, registry: str, name: str) -> str:
    with steps.step(f"Building and pushing {name}"):
        image = ensure_image(name)
        target = f"{registry.rstrip('/')}/{image.tag.removeprefix('localhost/')}"
        fix = f"Log in first: buildah login {registry.partition('/')[0]}"
        argv = [*buildah(), "push", f"oci-archive:{image.archive}", f"docker://{target}"]
        run(argv, what=f"push {target}", fix=fix, seconds=_PUSH_SECONDS)
    return target


def kubectl(context: str, arguments: Sequence[str], what: str) -> str:
    program = find("kubectl")
    if program is None:
        raise LocalError("kubectl is not installed", "Install it, or build ours: millrace local build")
    fix = f"Check it by hand: kubectl --context {context} {' '.join(arguments)}"
    return run([Path(program), "--context", context, *arguments], what=what, fix=fix, seconds=30, env=dict(os.environ))
