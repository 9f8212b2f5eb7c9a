"""Configuration files and flags: what must be in them for the cluster to work, checked as parsed data."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from millrace.cli.local import addons, control_plane, kueue, network, node_files
from millrace.cli.local.settings import MAX_NODES, Cluster, Options

CLUSTER = Cluster("default", 1, Path("/state"), Path("/cache"))


def flags(lines: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (line.removeprefix("--").partition("=") for line in lines)}


def test_containerd_keeps_images_apart_from_the_node_and_never_lowers_oom_scores() -> None:
    config = tomllib.loads(node_files.containerd_config(Path("/images"), Path("/node"), "localhost/pause:1"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == "/images"
    assert config["grpc"]["address"] == "/node/containerd.sock"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["sandbox_image"] == "localhost/pause:1"


def test_each_kubelet_has_a_cgroup_root_of_its_own() -> None:
    roots = {yaml.safe_load(node_files.kubelet_config(CLUSTER, Path("/n"), f"node-{n}"))["cgroupRoot"] for n in range(1, 4)}
    assert len(roots) == 3


def test_the_kubelet_never_deletes_an_image_that_nothing_could_pull_again() -> None:
    config = yaml.safe_load(node_files.kubelet_config(CLUSTER, Path("/n"), "node-1"))
    assert config["imageGCHighThresholdPercent"] == 100
    assert config["clusterDNS"] == [CLUSTER.dns_address]


def test_pods_of_a_node_get_addresses_that_the_other_nodes_route_to_it() -> None:
    ranges = json.loads(node_files.cni_config(CLUSTER, 2))["plugins"][0]["ipam"]["ranges"]
    assert ranges == [[{"subnet": CLUSTER.pod_subnet(2)}]]
    routes = network.inside_commands(CLUSTER, CLUSTER.node_address(1)).splitlines()
    assert f"route add {CLUSTER.pod_subnet(2)} via {CLUSTER.node_address(2)}" in routes


def test_a_nodes_default_route_comes_last_because_its_init_waits_for_it() -> None:
    commands = network.inside_commands(CLUSTER, CLUSTER.node_address(1)).splitlines()
    assert commands[-1] == f"route add default via {CLUSTER.host_address}"
    assert len([line for line in commands if line.startswith("route add 10.")]) == MAX_NODES - 1


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("us-east-1a", "use1-az1"), ("ap-southeast-2b", "apse2-az2"), ("eu-central-1c", "euc1-az3")],
)
def test_zone_ids_have_the_form_that_aws_gives_them(zone: str, expected: str) -> None:
    assert node_files.zone_id(zone) == expected


def test_nodes_carry_instance_type_zone_region_and_network_layers() -> None:
    labels = node_files.node_labels(3, Options(instance_type="p4de.24xlarge", zone="us-west-2b"))
    assert labels["node.kubernetes.io/instance-type"] == "p4de.24xlarge"
    assert labels["topology.kubernetes.io/zone"] == "us-west-2b"
    assert labels["topology.kubernetes.io/region"] == "us-west-2"
    assert {f"topology.k8s.aws/network-node-layer-{layer}" for layer in (1, 2, 3)} <= labels.keys()


def test_neighbours_share_the_closest_switch_and_others_do_not() -> None:
    closest = [node_files.node_labels(number, Options())["topology.k8s.aws/network-node-layer-3"] for number in range(1, 5)]
    assert closest[0] == closest[1] != closest[2] == closest[3]


def test_the_controller_manager_does_not_slow_down_what_is_measured() -> None:
    found = flags(control_plane.controller_manager_flags(CLUSTER))
    assert found["kube-api-qps"] == "500"
    assert found["node-monitor-grace-period"] == "16s"


def test_the_api_server_answers_here_and_from_nodes_and_issues_tokens() -> None:
    found = flags(control_plane.apiserver_flags(CLUSTER))
    assert found["advertise-address"] == CLUSTER.host_address
    assert found["secure-port"] == "6543"
    assert found["service-account-issuer"]
    assert "disable-admission-plugins" not in found


def test_etcd_admits_only_holders_of_a_certificate() -> None:
    found = flags(control_plane.etcd_flags(CLUSTER))
    assert "client-cert-auth" in found
    assert "peer-client-cert-auth" in found
    assert found["listen-client-urls"].startswith("https://127.0.0.1:")


@pytest.mark.parametrize(
    ("resolv_conf", "forwards"),
    [("nameserver 192.0.2.1\n", True), ("# nameserver 192.0.2.1\n", False), ("", False)],
)
def test_dns_forwards_only_where_this_machine_has_a_server_to_ask(resolv_conf: str, forwards: bool) -> None:
    assert ("forward" in addons.corefile(CLUSTER, resolv_conf)) is forwards


def test_the_dns_service_leads_to_the_process_on_this_machine() -> None:
    service, endpoints, storage = addons.manifests(CLUSTER)
    assert service["spec"]["clusterIP"] == CLUSTER.dns_address
    assert endpoints["endpoints"][0]["addresses"] == [CLUSTER.host_address]
    assert {port["port"] for port in endpoints["ports"]} == {port["targetPort"] for port in service["spec"]["ports"]}
    assert storage["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


def test_every_packet_rule_is_marked_with_the_clusters_name() -> None:
    assert all("millrace-local:default" in rule for _, _, rule in network.packet_rules(CLUSTER))


def published_hook(name: str, group: str) -> str:
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}
    service = {"name": "webhook-service", "namespace": "system", "path": f"/{name}"}
    hook = {"name": name, "clientConfig": {"service": service}, "failurePolicy": "Fail", "rules": [rule]}
    return yaml.safe_dump({"kind": "MutatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [hook]})


def test_only_jobs_with_a_queue_pass_through_kueue() -> None:
    published = "---\n".join(
        published_hook(name, group) for name, group in (("jobs", "batch"), ("own", "kueue.x-k8s.io"), ("pods", ""))
    )
    jobs, own, pods = (made["webhooks"] for made in kueue.webhooks(CLUSTER, published, b"ca"))
    assert jobs[0]["objectSelector"] == {"matchExpressions": [{"key": "kueue.x-k8s.io/queue-name", "operator": "Exists"}]}
    assert jobs[0]["failurePolicy"] == "Ignore"
    assert jobs[0]["clientConfig"] == {"url": f"https://127.0.0.1:{CLUSTER.port(10243)}/jobs", "caBundle": "Y2E="}
    assert "objectSelector" not in own[0]
    assert pods == []


def test_kueue_leaves_jobs_without_a_queue_alone_and_listens_on_this_machine_only() -> None:
    config = yaml.safe_load(kueue.configuration(CLUSTER))
    assert config["manageJobsWithoutQueueName"] is False
    assert config["integrations"] == {"frameworks": ["batch/job"]}
    assert config["webhook"]["host"] == "127.0.0.1"
    assert config["health"]["healthProbeBindAddress"] == f"127.0.0.1:{CLUSTER.port(10244)}"
