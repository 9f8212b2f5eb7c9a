"""Pages of documentation that follow from the kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from millrace.cli.generators import crds, health, kinds, metrics, reasons
from millrace.engine.controller import Controller
from millrace.engine.reasons import SHARED, Reason
from millrace.telemetry.metrics import Metrics


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("| `colour` | `red` or `blue` | `blue` | Its colour \\| as seen. |", "a bar in a description does not end the cell"),
        ("| `owner` * | name |  | Whose it is. |", "a required field is marked, a common pattern has a word"),
        ("| `wheels` | list of object, at most 8 items |  | Its wheels. |", "a list says what is in it and how much"),
        ("| `wheels[].size` * | integer, at least 1, at most 99 |  | Size in inches. |", "fields of items have a path"),
        ("| `marks` | map of string |  | Marks on it. |", "an entry's own bounds would read as the map's"),
        ("| `suspend` | boolean | `false` | Free whatever runs or bills, and keep results. |", "common fields are there too"),
        ("| `turns` | integer |  | Turns so far. |", "status has a table as well"),
        ("| `spec` | a red toy needs `wheels` | `self.colour != 'red' \\|\\| has(self.wheels)` |", "rules show what must hold"),
        ("| Turns | Turns so far. | `-o wide` only |", "columns of kubectl get are explained"),
    ],
)
def test_the_page_of_a_kind_tells(toy: Controller, tmp_path: Path, line: str, reason: str) -> None:
    assert line in kinds.files([toy], tmp_path)["docs/kinds/toy.md"].splitlines(), reason


def test_what_people_wrote_on_a_page_is_kept(toy: Controller, tmp_path: Path) -> None:
    path = tmp_path / "docs/kinds/toy.md"
    path.parent.mkdir(parents=True)
    first = kinds.files([toy], tmp_path)["docs/kinds/toy.md"]
    path.write_text(first.replace("A thing to test with.", "By hand.\n\n```yaml\na: 1\n```"))
    again = kinds.files([toy], tmp_path)["docs/kinds/toy.md"]
    assert "By hand.\n\n```yaml\na: 1\n```\n" in again
    assert "A thing to test with." not in again


def test_a_reason_that_two_kinds_mean_differently_has_both_meanings_on_its_page(toy: Controller, tmp_path: Path) -> None:
    other = replace(toy, kind=replace(toy.kind, name="Top"), reasons=(Reason("Spinning", "It whirls.", "Catch it."),))
    page = reasons.files([toy, other], tmp_path)["docs/reasons/Spinning.md"]
    assert page.index("[Toy](../kinds/toy.md)") < page.index("It turns.") < page.index("[Top](../kinds/top.md)")
    assert page.index("[Top](../kinds/top.md)") < page.index("It whirls.") < page.index("Catch it.")


def test_a_shared_reason_belongs_to_every_kind_even_where_a_kind_lists_it(toy: Controller, tmp_path: Path) -> None:
    page = reasons.files([toy], tmp_path)[f"docs/reasons/{SHARED[0].name}.md"]
    assert "Used by every kind." in page
    assert "Toy" not in page


def test_every_metric_that_is_exposed_has_a_line(toy: Controller, tmp_path: Path) -> None:
    page = metrics.files([toy], tmp_path)[metrics.PATH]
    exposed = [line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE millrace_")]
    ours = [name for name in exposed if not name.endswith("_created")]
    assert ours
    for name in ours:
        assert f"| `{name}` |" in page


def test_the_charts_copy_of_a_definition_is_kept_on_uninstall_and_otherwise_the_same(toy: Controller, tmp_path: Path) -> None:
    made = crds.files([toy], tmp_path)
    plain = yaml.safe_load(made["crds/millrace.dev_toys.yaml"])
    copy = yaml.safe_load(made["charts/millrace-crds/templates/millrace.dev_toys.yaml"])
    assert copy["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert copy == plain


def test_braces_in_a_description_do_not_become_template_actions(toy: Controller, tmp_path: Path) -> None:
    braced = replace(toy, kind=replace(toy.kind, description="Uses {{ braces }}."))
    assert 'Uses {{ "{{" }} braces }}.' in crds.files([braced], tmp_path)["charts/millrace-crds/templates/millrace.dev_toys.yaml"]


def test_the_setting_for_argo_cd_holds_every_check_word_for_word(toy: Controller, tmp_path: Path) -> None:
    made = health.files([toy], tmp_path)
    script = made["argocd/resource_customizations/millrace.dev/Toy/health.lua"]
    assert 'local SUMMARY = "Ready"' in script
    data = yaml.safe_load(made[health.CONFIG])["data"]
    assert data == {"resource.customizations.health.millrace.dev_Toy": script}
