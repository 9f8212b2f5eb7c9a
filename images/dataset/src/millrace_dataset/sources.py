"""From a source of any kind to a sorted list of files on disk, which is all that the later stages know."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from millrace_dataset.download import download
from millrace_dataset.generators import generate
from millrace_dataset.lines import OnBytes, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import FORMATS, Request


@contextmanager
def opened(request: Request, on_bytes: OnBytes) -> Iterator[list[SourceFile]]:
    """The source's files for the time of the block; what was fetched or generated is removed after it."""
    if request.source.path is not None:
        yield list_files(request.source.path)
        return
    with workspace(request, "source") as work:
        if request.source.kind == "s3":
            from millrace_dataset import s3  # the client takes memory that other sources do not need

            yield s3.fetch(request.source.url, work, on_bytes)
        else:
            yield [_materialise(request, work, on_bytes)]


@contextmanager
def workspace(request: Request, purpose: str) -> Iterator[Path]:
    """A folder for the time of the block, beside what will be published: only that claim is known to have room for the data.
    Without a claim to publish to it is in the pod's scratch space."""
    base = request.publish or Path(tempfile.gettempdir())
    work = base / f".work-{request.uid or os.getpid()}-{purpose}"
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write under {base}: {error.strerror}") from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def list_files(root: Path) -> list[SourceFile]:
    """A file, or a folder's regular files by POSIX path, hidden entries left out (a ConfigMap's own links are such)."""
    try:
        files = [SourceFile(root.name, root)] if root.is_file() else list(_walk(root))
    except OSError as error:
        raise Problem("SourceMissing", f"{root} cannot be read: {error.strerror}") from error
    if not files:
        reason, what = ("SourceEmpty", "holds no file") if root.is_dir() else ("SourceMissing", "does not exist")
        raise Problem(reason, f"{root} {what}: correct source.path or put data there")
    for file in files:
        if not os.access(file.path, os.R_OK):
            raise Problem("SourceMissing", f"{file.path} cannot be read by user {os.getuid()}: open its permissions")
    return sorted(files, key=lambda file: file.relative)


def _walk(root: Path) -> Iterator[SourceFile]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():
                yield SourceFile(path.relative_to(root).as_posix(), path)


def _materialise(request: Request, work: Path, on_bytes: OnBytes) -> SourceFile:
    source, name = request.source, f"data.{FORMATS[request.format]}"
    target = work / name
    try:
        if source.kind == "https":
            download(source.url, source.sha256, target, on_bytes)
        else:
            generate(source.generator, source.parameters or {}, request.format, target)
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write {target}: {error.strerror or error}") from error
    return SourceFile(name, target)
