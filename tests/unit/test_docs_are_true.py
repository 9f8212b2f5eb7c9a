"""What the documentation names must exist: links, make targets, commands with their options, fields, chart values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from millrace.cli.local import app as local_app
from millrace.cli.main import app
from millrace.cli.planning import is_ours, problems
from millrace.engine.registry import controllers

ROOT = Path(__file__).parents[2]
SKIPPED = {".venv", "node_modules", "shared", ".git"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not SKIPPED & set(p.relative_to(ROOT).parts))
HAND_WRITTEN = [p for p in PAGES if "reasons" not in p.parts and p.name != "cli.md"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text()) if language in languages]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(_SPAN.sub("", prose(page))) if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []


def typed(page: Path) -> Iterator[str]:
    """Commands as one would type them: lines of console blocks, continued ones joined, and code in the text."""
    for block in blocks(page, "console", "sh", "shell", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield from re.split(r"\s+(?:&&|\|)\s+|;\s+", line[2:].partition("  #")[0])
    yield from _SPAN.findall(prose(page))


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (name(p), word)
        for p in PAGES
        for line in typed(p)
        if (m := re.match(r"make ([a-z][a-z0-9-]*)", line))
        for word in m.groups()
    }
    assert named
    assert sorted(found for found in named if found[1] not in targets) == []


def parsed(words: list[str]) -> None:
    """Parses a command line of ours as the program would, without running it; usage errors come out."""
    command: Any = typer.main.get_command(app)
    words = words[1:]
    while hasattr(command, "commands"):
        assert words, "a command is missing"
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command = typer.main.get_command(local_app) if words[0] == "local" else command.commands[words[0]]
        words = words[1:]
    command.make_context(command.name, words)


def test_commands_that_are_named_parse() -> None:
    """What the text leaves out, for it is not a whole command line, is no error; what it names must exist."""
    wrong, seen = [], 0
    for page in PAGES:
        for line in typed(page):
            if not re.match(r"(kubectl )?millrace [a-z]", line) or line == "kubectl millrace":
                continue
            seen += 1
            try:
                parsed(shlex.split(line.removeprefix("kubectl ")))
            except (typer.BadParameter.__bases__[0], AssertionError) as error:
                if not re.search("Missing|a command is missing|requires an argument", str(error)):
                    wrong.append(f"{name(page)}: {line}: {error}")
    assert seen > 5
    assert wrong == []


def manifests(page: Path) -> Iterator[dict[str, Any]]:
    for block in blocks(page, "yaml", "yml"):
        yield from (d for d in yaml.safe_load_all(block) if isinstance(d, dict) and is_ours(d))


def test_manifests_that_are_shown_are_valid() -> None:
    by_kind = {c.kind.name: c.kind for c in controllers()}
    shown = [(name(page), manifest) for page in HAND_WRITTEN for manifest in manifests(page)]
    assert {m["kind"] for _, m in shown} >= {"Dataset", "TrainingJob"}
    assert [(where, wrong) for where, m in shown if (wrong := problems(m, by_kind[m["kind"]].spec))] == []


def expanded(path: str) -> list[str]:
    """`images.{a,b}.tag` as two paths."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [inner for part in found[1].split(",") for inner in expanded(path[: found.start()] + part + path[found.end() :])]


def has(values: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def test_chart_values_that_are_named_exist() -> None:
    values = yaml.safe_load((ROOT / "charts/millrace/values.yaml").read_text())
    page = ROOT / "docs/install.md"
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    named = [p for row in rows for span in _SPAN.findall(row) for p in expanded(span)]
    named += re.findall(r"--set ([A-Za-z.]+)=", page.read_text())
    assert len(named) > 10
    assert [path for path in named if not has(values, path)] == []


def test_every_variable_of_the_contract_is_documented() -> None:
    page = (ROOT / "docs/trainer-contract.md").read_text()
    source = (ROOT / "controllers/millrace_controllers/trainingjob/backends/kubernetes/pod.py").read_text()
    variables = set(re.findall(r'"(MILLRACE_[A-Z_]+|MASTER_ADDR|MASTER_PORT|WORLD_SIZE)"', source)) - {"MILLRACE_TASK"}
    assert len(variables) > 15
    assert sorted(v for v in variables if f"`{v}`" not in page) == []


def test_every_variable_parameter_and_metric_of_the_server_is_documented() -> None:
    page = (ROOT / "docs/serve-contract.md").read_text()
    sources = {path.name: path.read_text() for path in (ROOT / "images/trainer/src/millrace_serve").glob("*.py")}
    named = set(re.findall(r'"(MILLRACE_[A-Z_]+|millrace_serve_[a-z_]+)"', "".join(sources.values())))
    named |= set(re.findall(r"^    (\w+): (?:int|str) = ", sources["settings.py"].partition("class Settings")[0], re.MULTILINE))
    assert len(named) > 20
    # A counter's name gets its ending when it is shown.
    assert sorted(name for name in named if f"`{name}" not in page) == []


@pytest.mark.parametrize("image", ["trainer", "dataset"])
def test_every_reason_that_a_worker_may_report_has_a_page(image: str) -> None:
    """Superseded is not shown as a reason: the attempt that reports it is no longer the current one."""
    source = (ROOT / f"images/{image}/src/millrace_{image}/problems.py").read_text()
    told = set(re.findall(r'^        "([A-Z][A-Za-z]+)",$', source, re.MULTILINE)) - {"Superseded"}
    assert len(told) > 5
    assert sorted(reason for reason in told if not (ROOT / f"docs/reasons/{reason}.md").exists()) == []


def test_nothing_is_promised_for_later_and_no_machine_is_named() -> None:
    """Words that do not belong into what a stranger reads."""
    found = [
        f"{name(page)}: {match}"
        for page in PAGES
        for match in re.findall(r"\b(TODO|FIXME|coming soon|/root/|/work/|/tmp/[a-z]+)", page.read_text())
    ]
    assert found == []
