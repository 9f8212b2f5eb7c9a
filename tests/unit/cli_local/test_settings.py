"""Names, addresses and options of a local cluster."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from millrace.cli.local import settings
from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import Cluster, Options


def cluster(slot: int = 0) -> Cluster:
    return Cluster("default", slot, Path("/state"), Path("/cache"))


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="nothing asked is nothing simulated"),
        pytest.param("nvidia.com/gpu=8", (("nvidia.com/gpu", 8),), id="one resource"),
        pytest.param(
            "vpc.amazonaws.com/efa=32, nvidia.com/gpu=8",
            (("nvidia.com/gpu", 8), ("vpc.amazonaws.com/efa", 32)),
            id="order and blanks do not matter",
        ),
        pytest.param("a.b/c=1,a.b/c=2", (("a.b/c", 2),), id="the last of two wins"),
        pytest.param("a.b/c=0", (("a.b/c", 0),), id="zero devices are allowed"),
    ],
)
def test_simulated_resources_are_read_sorted(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert settings.parse_simulate(text) == expected


@pytest.mark.parametrize("text", ["gpu=8", "nvidia.com/gpu", "nvidia.com/gpu=-1", "nvidia.com/gpu=x", "/gpu=1", "a.b/=1"])
def test_a_malformed_resource_is_refused_by_name(text: str) -> None:
    with pytest.raises(LocalError, match="--simulate") as refused:
        settings.parse_simulate(text)
    assert text in refused.value.message
    assert "nvidia.com/gpu=8" in refused.value.fix


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a-", "a_b", "../up", "a" * 21])
def test_a_name_that_cannot_be_a_path_or_a_label_is_refused(name: str) -> None:
    with pytest.raises(LocalError):
        settings.check_name(name)


def test_no_two_slots_share_a_subnet_a_port_or_an_interface() -> None:
    networks = []
    ports: list[int] = []
    for slot in range(settings.SLOTS):
        one = cluster(slot)
        networks += [ipaddress.ip_network(text) for text in (one.network, one.pod_network, one.service_network)]
        ports += [one.port(base) for base in (2379, 2380, 6443, 10053, 10054, 10247, 10257, 10259)]
    assert not [(a, b) for i, a in enumerate(networks) for b in networks[i + 1 :] if a.overlaps(b)]
    assert len(ports) == len(set(ports))
    assert len({cluster(slot).bridge for slot in range(settings.SLOTS)}) == settings.SLOTS


def test_every_address_lies_in_its_network() -> None:
    one = cluster(3)
    node_network = ipaddress.ip_network(one.network)
    for number in range(1, settings.MAX_NODES + 1):
        assert ipaddress.ip_address(one.node_address(number)) in node_network
        assert ipaddress.ip_network(one.pod_subnet(number)).subnet_of(ipaddress.ip_network(one.pod_network))  # type: ignore[arg-type]
    assert ipaddress.ip_address(one.dns_address) in ipaddress.ip_network(one.service_network)


def test_clusters_get_slots_of_their_own_and_keep_them() -> None:
    first, second = settings.open_cluster("first"), settings.open_cluster("second")
    assert first.slot == second.slot  # nothing is started yet
    settings.save_options(first, Options())
    second = settings.open_cluster("second")
    settings.save_options(second, Options())
    assert second.slot != first.slot
    assert settings.open_cluster("first").slot == first.slot
    assert [found.name for found in settings.existing_clusters()] == ["first", "second"]


def test_options_survive_being_written_and_read() -> None:
    one = settings.open_cluster("default")
    options = Options(nodes=3, simulate=(("nvidia.com/gpu", 8),), zone="eu-west-1b", kwok=True)
    settings.save_options(one, options)
    assert settings.load_options(one) == options


def test_a_damaged_record_is_no_cluster_rather_than_a_crash() -> None:
    one = settings.open_cluster("default")
    one.options_file.parent.mkdir(parents=True)
    one.options_file.write_text("{")
    assert settings.load_options(one) is None
    assert settings.existing_clusters() == []


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        pytest.param({"nodes": 3}, True, id="nodes may join a running cluster"),
        pytest.param({"kwok": True}, True, id="kwok may be added"),
        pytest.param({"zone": None, "nodes": None}, True, id="what is not asked for stays as it is"),
        pytest.param({"zone": "us-east-1a"}, True, id="asking for what is there changes nothing"),
        pytest.param({"nodes": 1}, False, id="no node is taken away"),
        pytest.param({"zone": "us-east-1b"}, False, id="labels of running nodes stay"),
        pytest.param({"simulate": (("nvidia.com/gpu", 4),)}, False, id="devices of running nodes stay"),
        pytest.param({"nodes": settings.MAX_NODES + 1}, False, id="more than one machine carries"),
    ],
)
def test_a_running_cluster_changes_only_where_it_can(asked: dict[str, object], allowed: bool) -> None:
    recorded = Options(nodes=2)
    if allowed:
        merged = settings.merge_options(recorded, asked)
        assert all(getattr(merged, name) == value for name, value in asked.items() if value is not None)
    else:
        with pytest.raises(LocalError) as refused:
            settings.merge_options(recorded, asked)
        assert refused.value.fix


def test_a_node_is_found_by_name_or_the_right_names_are_given() -> None:
    assert settings.node_number(2, "node-2") == 2
    with pytest.raises(LocalError) as refused:
        settings.node_number(2, "node-3")
    assert "node-1, node-2" in refused.value.fix


def test_control_groups_in_which_nothing_runs_are_in_nobodys_way(tmp_path: Path) -> None:
    inner = tmp_path / "node-1" / "kubelet"
    inner.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "node-1", inner):
        (folder / "cgroup.procs").write_text("")
    assert not settings._is_populated(tmp_path)
    (inner / "cgroup.procs").write_text("4711\n")
    assert settings._is_populated(tmp_path)
    assert not settings._is_populated(tmp_path / "no-such-group")
