"""Builds the cluster's programs from Go modules, once per content: a build is known by the hash of all that went into it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.programs import run
from millrace.cli.local.settings import KUBERNETES_VERSION, cache_home, repository

_GO = "Install Go 1.24 or newer and put it on PATH."
_SECONDS = 3600.0
_KEPT = 3


@dataclass(frozen=True)
class Tool:
    """A program of somebody else's module, built as published."""

    name: str
    module: str
    version: str
    package: str = ""
    flags: str = ""  # for the linker
    pinned: bool = False  # `go install` asks a proxy for all versions, and some proxies refuse that list of some modules

    @property
    def target(self) -> str:
        return f"{self.module}{self.package}@{self.version}"


HELM = Tool("helm", "helm.sh/helm/v3", "v3.19.0", "/cmd/helm", "-X helm.sh/helm/v3/internal/version.version=v3.19.0")
COREDNS = Tool("coredns", "github.com/coredns/coredns", "v1.13.1")
KWOK = Tool("kwok", "sigs.k8s.io/kwok", "v0.7.0", "/cmd/kwok", "-X sigs.k8s.io/kwok/pkg/consts.Version=0.7.0")
_KUEUE_VERSION = "-X sigs.k8s.io/kueue/pkg/version.GitVersion=v0.14.0"
KUEUE = Tool("kueue", "sigs.k8s.io/kueue", "v0.14.0", "/cmd/kueue", _KUEUE_VERSION, pinned=True)
_KUEUE_MANIFESTS = ("config/components/crd/bases/*.yaml", "config/components/webhook/manifests.yaml")
TOOLS = (HELM, COREDNS, KWOK, KUEUE)


def ensure_kubernetes() -> Path:
    """The multi-call binary of images/local-cluster; its other names are linked beside it."""
    source = repository() / "images" / "local-cluster"
    files = sorted([*source.glob("*.go"), source / "go.mod", source / "go.sum"])
    key = content_key([(path.name, path.read_bytes()) for path in files], (_go_version(), kubernetes_flags()))

    def build(folder: Path) -> None:
        argv = ["go", "build", "-trimpath", "-ldflags", kubernetes_flags(), "-o", str(folder / "local-cluster"), "."]
        run(argv, what="build Kubernetes", fix=_GO, seconds=_SECONDS, env=_environment(), cwd=source)

    built = _ensure("local-cluster", key, build)
    _link(built, "kubectl")
    return built


def ensure_tool(tool: Tool) -> Path:
    key = content_key([], (_go_version(), tool.target, tool.flags))

    def build(folder: Path) -> None:
        argv = _pinned_argv(tool, folder) if tool.pinned else ["go", "install", *_flags(tool), tool.target]
        environment = {**_environment(), "GOBIN": str(folder)}
        run(argv, what=f"build {tool.name}", fix=_GO, seconds=_SECONDS, env=environment, cwd=folder)

    return _ensure(tool.name, key, build)


def _flags(tool: Tool) -> list[str]:
    return ["-trimpath", "-ldflags", f"-s -w {tool.flags}".strip()]


def _pinned_argv(tool: Tool, folder: Path) -> list[str]:
    """Builds from a module of our own that requires that one version and nothing else."""
    (folder / "go.mod").write_text(f"module millrace.dev/{tool.name}\n\ngo 1.24.0\n\nrequire {tool.module} {tool.version}\n")
    return ["go", "build", "-mod=mod", *_flags(tool), "-o", str(folder / tool.name), f"{tool.module}{tool.package}"]


def ensure_kueue_manifests() -> Path:
    """Kueue's definitions and webhooks as its module has them, in one file: the module itself may be cleaned away later."""

    def build(folder: Path) -> None:
        argv = ["go", "mod", "download", "-json", f"{KUEUE.module}@{KUEUE.version}"]
        module = Path(json.loads(run(argv, what="download kueue", fix=_GO, seconds=_SECONDS, cwd=folder))["Dir"])
        files = [path for pattern in _KUEUE_MANIFESTS for path in sorted(module.glob(pattern))]
        (folder / "kueue-manifests").write_text("\n---\n".join(path.read_text() for path in files))

    return _ensure("kueue-manifests", content_key([], (KUEUE.target, *_KUEUE_MANIFESTS)), build)


def is_built(tool: Tool) -> bool:
    key = content_key([], (_go_version(), tool.target, tool.flags))
    return _stored(tool.name, key).exists()


def kubernetes_flags() -> str:
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    facts = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X {version}.{name}={value}" for name, value in facts.items())])


def content_key(files: Iterable[tuple[str, bytes]], facts: Iterable[str]) -> str:
    """16 hex digits that change with any file's name or content and with any fact."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    for fact in facts:
        digest.update(f"\0{fact}".encode())
    return digest.hexdigest()[:16]


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """Holds the cache's lock of that name: two commands must not build or import the same thing at once."""
    folder = cache_home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure(name: str, key: str, build: Callable[[Path], None]) -> Path:
    stored = _stored(name, key)
    with exclusively("build"):
        if not stored.exists():
            _build_into(stored, name, build)
        stored.touch()  # the store drops what was unused longest
        _link(stored, name)
        _prune(name)
    return stored


def _build_into(stored: Path, name: str, build: Callable[[Path], None]) -> None:
    stored.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=stored.parent) as folder:
        build(Path(folder))
        (Path(folder) / name).replace(stored)


def _stored(name: str, key: str) -> Path:
    return cache_home() / "store" / f"{name}-{key}"


def _link(stored: Path, name: str) -> None:
    folder = cache_home() / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{name}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(stored)
    draft.replace(folder / name)


def _prune(name: str) -> None:
    found = sorted(cache_home().glob(f"store/{name}-????????????????"), key=lambda path: -path.stat().st_mtime)
    for old in found[_KEPT:]:
        old.unlink()


def _go_version() -> str:
    if shutil.which("go") is None:
        raise LocalError("Go is not installed, and the cluster's programs are built from Go modules", _GO)
    return run(["go", "env", "GOVERSION"], what="ask Go for its version", fix=_GO).strip()


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0"}
