"""Checkpoints on disk: one folder a step and attempt, and one commit pointer that says which of them counts.

A folder means nothing until `latest.json` names it: that is written last, after all ranks' files are hashed and on disk.
The pointer carries the attempt's number, so a rank of an old attempt that lives on behind a dead node cannot move it.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from millrace_trainer.clock import now
from millrace_trainer.files import FileEntry, fsync_directory, hash_file, write_json
from millrace_trainer.problems import Problem

POINTER = "latest.json"
COMMITTED = "committed.json"  # a copy of the pointer in the folder itself: what pruning counts


@dataclass(frozen=True)
class Pointer:
    """A committed checkpoint: `path` is its folder, relative to the checkpoint folder; `files` are relative to `path`."""

    uid: str
    run_id: str
    attempt: int
    step: int
    path: str
    committed_at: str
    files: Mapping[str, FileEntry]

    def to_json(self) -> dict[str, Any]:
        """The contract's form."""
        return {
            "schema": 1,
            "uid": self.uid,
            "runID": self.run_id,
            "attempt": self.attempt,
            "step": self.step,
            "path": self.path,
            "committedAt": self.committed_at,
            "files": {name: asdict(entry) for name, entry in sorted(self.files.items())},
        }


def read_pointer(path: Path) -> Pointer | None:
    """Read a pointer; None when there is none, Problem(CheckpointUnreadable) when it cannot be understood."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {name: FileEntry(entry["sha256"], int(entry["bytes"])) for name, entry in raw["files"].items()}
        return Pointer(raw["uid"], raw["runID"], int(raw["attempt"]), int(raw["step"]), raw["path"], raw["committedAt"], files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem("CheckpointUnreadable", f"{path} is damaged ({error}): restore it or remove it") from error


@dataclass(frozen=True)
class Store:
    """The checkpoint folder as one attempt of one run sees it; keeps the last `keep` committed checkpoints."""

    root: Path
    uid: str
    run_id: str
    attempt: int
    keep: int

    def resumable(self) -> Pointer | None:
        """The checkpoint to go on from; None when there is none or it is another run's."""
        pointer = read_pointer(self.root / POINTER)
        self._check_not_superseded(pointer)
        return pointer if pointer and pointer.run_id == self.run_id else None

    def verify(self, pointer: Pointer) -> None:
        """Hash every file of a checkpoint; Problem(CheckpointUnreadable) names the first that differs."""
        for name, entry in pointer.files.items():
            path = self.root / pointer.path / name
            try:
                found = hash_file(path)
            except OSError as error:
                raise Problem("CheckpointUnreadable", f"{path} cannot be read ({error.strerror}): restore it") from error
            if found != entry:
                raise Problem(
                    "CheckpointUnreadable", f"{path} is not what was committed: restore it, or start with another runID"
                )

    def begin(self, step: int) -> Path:
        """An empty folder for this attempt's checkpoint of a step."""
        folder = self.root / f"step-{step:08d}-a{self.attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commit(self, step: int, folder: Path, files: Mapping[str, FileEntry]) -> Pointer:
        """Make a checkpoint count; the caller has written and synced every file. Problem(Superseded) if a later attempt runs."""
        fsync_directory(folder)
        fsync_directory(self.root)
        pointer = Pointer(self.uid, self.run_id, self.attempt, step, folder.name, now(), dict(files))
        self._check_not_superseded(read_pointer(self.root / POINTER))
        write_json(folder / COMMITTED, pointer.to_json())
        write_json(self.root / POINTER, pointer.to_json())
        self._prune(pointer)
        return pointer

    def _check_not_superseded(self, pointer: Pointer | None) -> None:
        mine = pointer is not None and (pointer.uid, pointer.run_id) == (self.uid, self.run_id)
        if pointer is not None and mine and pointer.attempt > self.attempt:
            raise Problem(
                "Superseded",
                f"attempt {pointer.attempt} has taken over from attempt {self.attempt}: nothing to do",
                pointer.step,
            )

    def _prune(self, current: Pointer) -> None:
        committed: list[tuple[str, int, Path]] = []
        for folder in self.root.glob("step-*-a*"):
            pointer = read_pointer(folder / COMMITTED)
            if pointer is not None:
                committed.append((pointer.committed_at, pointer.step, folder))
            elif _attempt_of(folder) < self.attempt:
                shutil.rmtree(folder, ignore_errors=True)
        for _, _, folder in sorted(committed)[: -self.keep]:
            if folder.name != current.path:
                shutil.rmtree(folder, ignore_errors=True)


def _attempt_of(folder: Path) -> int:
    text = folder.name.rpartition("-a")[2]
    return int(text) if text.isdecimal() else 0
