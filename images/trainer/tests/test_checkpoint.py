"""The commit pointer: what counts, what is kept, and who may move it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from millrace_trainer.checkpoint import Pointer, Store, read_pointer
from millrace_trainer.files import hash_file
from millrace_trainer.problems import Problem


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "u-1", "run-1", 1, 2)


def save(store: Store, step: int) -> Pointer:
    folder = store.begin(step)
    (folder / "weights").write_text(f"{step}")
    return store.commit(step, folder, {"weights": hash_file(folder / "weights")})


def steps(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.glob("step-*"))


def test_a_committed_checkpoint_is_named_by_the_contracts_pointer(store: Store) -> None:
    pointer = save(store, 7)
    raw = json.loads((store.root / "latest.json").read_text())
    assert raw["files"]["weights"] == {"sha256": hash_file(store.root / pointer.path / "weights").sha256, "bytes": 1}
    assert (raw["schema"], raw["uid"], raw["runID"], raw["attempt"], raw["step"]) == (1, "u-1", "run-1", 1, 7)
    assert raw["path"] == "step-00000007-a1"
    assert store.resumable() == pointer


def test_a_folder_without_a_commit_does_not_count(store: Store) -> None:
    save(store, 1)
    (store.begin(2) / "weights").write_text("half")
    pointer = store.resumable()
    assert pointer is not None
    assert pointer.step == 1


def test_the_last_committed_ones_are_kept_and_a_lower_attempts_remains_are_removed(store: Store) -> None:
    for step in (1, 2, 3):
        save(store, step)
    (store.begin(4) / "weights").write_text("half")
    second = replace(store, attempt=2)
    assert steps(store) == ["step-00000002-a1", "step-00000003-a1", "step-00000004-a1"]
    save(second, 4)
    assert steps(store) == ["step-00000003-a1", "step-00000004-a2"]


def test_a_lower_attempt_never_moves_the_pointer(store: Store) -> None:
    late = save(replace(store, attempt=2), 5)
    with pytest.raises(Problem) as caught:
        save(store, 9)
    assert caught.value.reason == "Superseded"
    assert read_pointer(store.root / "latest.json") == late
    with pytest.raises(Problem, match="attempt 2 has taken over"):
        store.resumable()


def test_another_runs_pointer_is_not_resumed_from_and_may_be_replaced(store: Store) -> None:
    save(replace(store, run_id="run-0", attempt=9), 100)
    assert store.resumable() is None
    save(store, 1)
    pointer = store.resumable()
    assert pointer is not None
    assert pointer.step == 1


def test_a_recreated_object_resumes_its_runs_checkpoint(store: Store) -> None:
    save(replace(store, attempt=3), 5)
    again = replace(store, uid="u-2")
    pointer = again.resumable()
    assert pointer is not None
    assert pointer.step == 5
    assert save(again, 6).uid == "u-2"


@pytest.mark.parametrize("damage", ["remove", "change"])
def test_a_damaged_checkpoint_is_named(store: Store, damage: str) -> None:
    pointer = save(store, 1)
    store.verify(pointer)
    path = store.root / pointer.path / "weights"
    path.unlink() if damage == "remove" else path.write_text("2")
    with pytest.raises(Problem, match="weights") as caught:
        store.verify(pointer)
    assert caught.value.reason == "CheckpointUnreadable"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"files": []}'])
def test_a_damaged_pointer_is_named(store: Store, content: str) -> None:
    (store.root / "latest.json").write_text(content)
    with pytest.raises(Problem, match=r"latest\.json is damaged") as caught:
        store.resumable()
    assert caught.value.reason == "CheckpointUnreadable"
