"""The instance catalogue: the figures that other code counts on, and that a typo cannot slip through."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.data import instances

# name, accelerator, GPUs, GPU memory, vCPUs, memory, EFA, network, allocatable CPU, allocatable memory, reason
FIGURES: list[tuple[str, str | None, int, int | None, int, float, int, float, int, int, str]] = [
    ("p4d.24xlarge", "a100", 8, 40960, 96, 1152, 4, 400, 95690, 1082712, "four EFA devices, the 40 GB A100"),
    ("p4de.24xlarge", "a100", 8, 81920, 96, 1152, 4, 400, 95690, 1082712, "as p4d but with the 80 GB A100"),
    ("p5.4xlarge", "h100", 1, 81920, 16, 256, 1, 100, 15890, 240830, "one GPU and one EFA device"),
    ("p5.48xlarge", "h100", 8, 81920, 192, 2048, 32, 3200, 191450, 1938410, "32 EFA devices, where p5en has 16"),
    ("p5e.48xlarge", "h200", 8, 144384, 192, 2048, 32, 3200, 191450, 1938410, "p5 with H200"),
    ("p5en.48xlarge", "h200", 8, 144384, 192, 2048, 16, 3200, 191450, 1937332, "half the devices, the same bandwidth"),
    ("p6-b200.48xlarge", "b200", 8, 183359, 192, 2048, 8, 3200, 191450, 1937332, "Blackwell"),
    ("p6-b300.48xlarge", "b300", 8, 275040, 192, 4096, 16, 6400, 191450, 3877198, "the largest memory of the table"),
    ("g5.xlarge", "a10g", 1, 22888, 4, 16, 0, 2.5, 3920, 14162, "a small GPU type has no EFA"),
    ("g5.48xlarge", "a10g", 8, 22888, 192, 768, 1, 100, 191450, 723299, "eight GPUs behind one EFA device"),
    ("g6e.24xlarge", "l40s", 4, 45776, 96, 768, 2, 200, 95690, 721682, "EFA devices grow with the size"),
    ("g6e.48xlarge", "l40s", 8, 45776, 192, 1536, 4, 400, 191450, 1449132, "EFA devices grow with the size"),
    ("g7e.48xlarge", "rtx-pro-server-6000", 8, 98304, 192, 2048, 4, 1600, 191450, 1932558, "a family newer than this design"),
    ("trn1.32xlarge", "trainium", 0, None, 128, 512, 8, 800, 127610, 481894, "Neuron devices are no GPUs"),
    ("c5.2xlarge", None, 0, None, 8, 16, 0, 2.5, 7910, 14162, "a CPU type"),
    ("c5n.large", None, 0, None, 2, 5.25, 0, 3, 1930, 4298, "memory need not be a whole number of GiB"),
]


@pytest.mark.parametrize("row", FIGURES, ids=lambda row: f"{row[0]}: {row[-1]}")
def test_figures_are_those_of_the_source(row: tuple[Any, ...]) -> None:
    found = instances.get(row[0])
    seen = (found.accelerator, found.gpus, found.gpu_memory_mib, found.vcpus, found.memory_gib, found.efa, found.network_gbps)
    assert (*seen, found.allocatable_cpu, found.allocatable_memory) == row[1:10]


# name, devices, physical cores, logical cores, reason
NEURON = [
    ("trn1.2xlarge", 1, 2, 2, "two cores a chip"),
    ("trn1.32xlarge", 16, 32, 32, "two cores a chip"),
    ("trn1n.32xlarge", 16, 32, 32, "two cores a chip"),
    ("trn2.48xlarge", 16, 128, 64, "Trainium2 shows two physical cores as one by default"),
]


@pytest.mark.parametrize(("name", "devices", "physical", "logical", "reason"), NEURON)
def test_neuron_cores(name: str, devices: int, physical: int, logical: int, reason: str) -> None:
    found = instances.get(name)
    assert (found.neuron_devices, found.neuron_cores, found.logical_neuron_cores) == (devices, physical, logical), reason


def test_what_is_not_documented_is_none_and_not_zero() -> None:
    found = instances.get("p6e-gb200.36xlarge")
    assert (found.gpus, found.architecture) == (4, "arm64")
    assert (found.efa, found.allocatable_cpu, found.allocatable_memory, found.memory_gib) == (None, None, None, None)


def test_every_documented_node_gives_less_than_its_data_sheet_promises() -> None:
    for name in instances.names():
        found = instances.get(name)
        if found.allocatable_cpu is None or found.allocatable_memory is None:
            continue
        assert found.vcpus is not None, name
        assert found.memory_gib is not None, name
        assert 0 < found.allocatable_cpu < found.vcpus * 1000, name
        assert 0 < found.allocatable_memory < found.memory_gib * 1024, name


def test_the_common_cpu_families_are_there_from_large_to_24xlarge() -> None:
    for family in ("c5", "m5", "c6i", "m6i", "c7i", "m7i"):
        for size in ("large", "xlarge", "2xlarge", "4xlarge", "12xlarge", "24xlarge"):
            found = instances.get(f"{family}.{size}")
            assert not found.accelerated
            assert found.architecture == "amd64"


def test_figures_have_a_date_and_a_source() -> None:
    about = instances.about()
    assert about["date"] == "2026-08-21"
    first = about["sources"][0]
    assert first["repository"] == "aws/karpenter-provider-aws"
    assert len(first["commit"]) == 40
    assert "instances" not in about


def test_find_gives_none_where_get_raises() -> None:
    assert instances.find("p9.48xlarge") is None
    with pytest.raises(instances.UnknownInstance, match=r"p9\.48xlarge"):
        instances.get("p9.48xlarge")


# what was written, what must be offered, reason
MISTAKES = [
    ("p5.24xlarge", "p5.48xlarge", "a size that the family does not have"),
    ("p4de.24xlarg", "p4de.24xlarge", "a letter is missing"),
    ("g5.10xlarge", "g5.16xlarge", "a size of the neighbours"),
    ("p5em.48xlarge", "p5en.48xlarge", "a letter is wrong in the family"),
]


@pytest.mark.parametrize(("written", "offered", "reason"), MISTAKES)
def test_similar_names_are_offered(written: str, offered: str, reason: str) -> None:
    assert offered in instances.similar(written), reason
    assert len(instances.similar(written)) <= 4


def test_nothing_is_offered_for_what_resembles_nothing() -> None:
    assert instances.similar("zzzzzzzzzzzz") == ()


ROW = {
    "accelerator": None, "gpus": 0, "neuron_devices": 0, "neuron_cores": 0, "logical_neuron_cores": 0, "gpu_memory_mib": None,
    "vcpus": 1, "memory_gib": 1, "efa": 0, "network_gbps": 1, "allocatable_cpu": 1, "allocatable_memory": 1,
    "architecture": "amd64",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**ROW, "gpu": 8}, "gpu"),
        ({key: value for key, value in ROW.items() if key != "efa"}, "efa"),
    ],
)
def test_a_row_with_a_misspelt_or_missing_field_is_refused(row: dict[str, Any], field: str) -> None:
    with pytest.raises(instances.CatalogueBroken, match=rf"x\.large.*\b{field}\b"):
        instances.parse("x.large", row)


def test_family_is_what_stands_before_the_dot() -> None:
    assert instances.get("p6-b200.48xlarge").family == "p6-b200"
