"""Writing and checking are the same work: what `--check` complains about is what a write touches."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.cli import generate
from millrace.engine.registry import controllers

ROOT = Path(generate.__file__).parents[3]


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    return generate.texts(controllers(), ROOT)


def test_the_repository_is_as_generated(wanted: dict[str, str]) -> None:
    assert generate.differences(wanted, ROOT) == [], "run `make generate`"


def test_a_second_write_touches_nothing(wanted: dict[str, str], tmp_path: Path) -> None:
    assert sorted(generate.write(wanted, tmp_path)) == sorted(wanted)
    assert generate.write(wanted, tmp_path) == []


def test_what_nothing_generates_any_more_is_found_and_removed(wanted: dict[str, str], tmp_path: Path) -> None:
    generate.write(wanted, tmp_path)
    stale = tmp_path / "docs/reasons/Gone.md"
    stale.write_text("# Gone\n")
    assert generate.differences(wanted, tmp_path) == ["docs/reasons/Gone.md"]
    assert generate.write(wanted, tmp_path) == ["docs/reasons/Gone.md"]
    assert not stale.exists()


def test_check_names_each_file_that_differs_and_changes_none(
    wanted: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.write(wanted, tmp_path)
    spoiled = tmp_path / "docs/metrics.md"
    spoiled.write_text("nothing\n")
    assert generate.main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/metrics.md: not what the kinds say" in capsys.readouterr().err
    assert spoiled.read_text() == "nothing\n"
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert generate.main(["--check", "--root", str(tmp_path)]) == 0
