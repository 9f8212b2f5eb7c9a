"""The pod's shape: what each instance type, fabric and placement leads to, and why."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.v1alpha1.trainingjob import KubernetesTraining
from millrace.data import instances
from millrace.engine.errors import Terminal
from millrace.kube import pods
from millrace_controllers.trainingjob.backends.kubernetes import demand, quantities
from millrace_controllers.trainingjob.backends.kubernetes.shape import (
    BadResources,
    ContradictoryPlacement,
    Shape,
    UndocumentedInstanceType,
    UnknownInstanceType,
    shape,
)

LABELS = {"millrace.dev/owner-uid": "u1", "millrace.dev/attempt": "2"}
ZONE = "topology.kubernetes.io/zone"
RACK = "topology.k8s.aws/network-node-layer-3"
HOSTNAME = "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def of(avoid: tuple[str, ...] = (), labels: dict[str, str] | None = None, **spec: Any) -> Shape:
    """The shape of a spec given by its API names."""
    parsed = KubernetesTraining.model_validate({"runtime": "nemo", **spec})
    return shape(parsed, avoid_nodes=avoid, labels=LABELS if labels is None else labels)


def term(key: str) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": LABELS}, "topologyKey": key}


# -- resources -----------------------------------------------------------------------------------------------------------

# spec, requests, reason
RESOURCES: list[tuple[dict[str, Any], dict[str, str], str]] = [
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2},
        {"cpu": "94790m", "memory": "1071432Mi", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "4"},
        "allocatable 95690m and 1082712Mi, less 900m and 1024Mi for others and 10256Mi of pages that the EFA driver takes",
    ),
    (
        {"instanceType": "p4d.24xlarge", "nodes": 2},
        {"cpu": "94790m", "memory": "1071432Mi", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "4"},
        "p4d is p4de with smaller GPUs",
    ),
    (
        {"instanceType": "p5.48xlarge", "nodes": 2},
        {"cpu": "190550m", "memory": "1927130Mi", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32"},
        "32 EFA devices a node",
    ),
    (
        {"instanceType": "p5en.48xlarge", "nodes": 2},
        {"cpu": "190550m", "memory": "1926052Mi", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "16"},
        "p5en has 16 EFA devices of twice the speed",
    ),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "fabric": {"efa": "None"}},
        {"cpu": "94790m", "memory": "1071432Mi", "nvidia.com/gpu": "8"},
        "without EFA the driver still has its pages",
    ),
    (
        {"instanceType": "p5.4xlarge"},
        {"cpu": "14990m", "memory": "229550Mi", "nvidia.com/gpu": "1"},
        "a single pod has nobody to reach over EFA",
    ),
    (
        {"instanceType": "p5.4xlarge", "fabric": {"efa": "DevicePlugin"}},
        {"cpu": "14990m", "memory": "229550Mi", "nvidia.com/gpu": "1", "vpc.amazonaws.com/efa": "1"},
        "what is asked for in so many words is asked of the node",
    ),
    (
        {"instanceType": "g5.xlarge", "nodes": 2},
        {"cpu": "3020m", "memory": "13138Mi", "nvidia.com/gpu": "1"},
        "a type without EFA keeps no memory for its pages",
    ),
    (
        {"instanceType": "trn1.32xlarge", "nodes": 2},
        {"cpu": "126710m", "memory": "470614Mi", "aws.amazon.com/neuron": "16", "vpc.amazonaws.com/efa": "8"},
        "Neuron devices have a resource of their own",
    ),
    (
        {"instanceType": "c5.2xlarge", "nodes": 2},
        {"cpu": "7010m", "memory": "13138Mi"},
        "a CPU type",
    ),
    (
        {"instanceType": "c6i.32xlarge", "nodes": 2},
        {"cpu": "126710m", "memory": "222741Mi"},
        "gloo cannot use EFA, so a CPU type is not asked for it unless the spec says so",
    ),
    ({}, {"cpu": "1000m", "memory": "2048Mi"}, "the small default"),
    (
        {"resources": {"cpu": "1.5", "memory": "1.5Gi", "gpus": 2, "efa": 1}},
        {"cpu": "1500m", "memory": "1536Mi", "nvidia.com/gpu": "2", "vpc.amazonaws.com/efa": "1"},
        "by hand, as written",
    ),
    ({"resources": {"memory": "3G"}}, {"cpu": "1000m", "memory": "3000000000"}, "what is no whole number of Mi stays exact"),
    (
        {"resources": {"gpus": 8, "efa": 4}, "fabric": {"efa": "None"}},
        {"cpu": "1000m", "memory": "2048Mi", "nvidia.com/gpu": "8"},
        "fabric None wins over devices by hand",
    ),
]


@pytest.mark.parametrize(("spec", "requests", "reason"), RESOURCES)
def test_requests(spec: dict[str, Any], requests: dict[str, str], reason: str) -> None:
    made = of(**spec)
    assert made.requests == requests, reason
    assert made.limits == {name: value for name, value in requests.items() if name != "cpu"}, (
        "all but CPU is limited as requested"
    )


def test_efa_is_one_field_of_the_requests_and_nothing_else_in_them() -> None:
    with_efa, without = of(instanceType="p5.48xlarge", nodes=2), of(instanceType="p5.48xlarge", nodes=2, fabric={"efa": "None"})
    assert set(with_efa.requests.items()) - set(without.requests.items()) == {("vpc.amazonaws.com/efa", "32")}
    assert of(instanceType="p5e.48xlarge", nodes=2).requests == with_efa.requests


DOCUMENTED = [name for name in instances.names() if instances.get(name).allocatable_memory is not None]


@pytest.mark.parametrize("efa", ["DevicePlugin", "None"])
@pytest.mark.parametrize("shared", [None, 1, 4096])
def test_no_pod_of_the_whole_catalogue_asks_for_more_than_its_node_has(efa: str, shared: int | None) -> None:
    for name in DOCUMENTED:
        node = instances.get(name)
        assert node.allocatable_cpu is not None
        assert node.allocatable_memory is not None
        made = of(instanceType=name, nodes=2, fabric={"efa": efa}, sharedMemoryGiB=shared)
        memory = quantities.in_bytes(made.limits["memory"])
        assert quantities.millicores(made.requests["cpu"]) + demand.RESERVED_CPU <= node.allocatable_cpu, name
        assert memory + demand.RESERVED_MEMORY * quantities.MIB <= node.allocatable_memory * quantities.MIB, name
        assert quantities.millicores(made.requests["cpu"]) * 2 > node.allocatable_cpu, f"{name}: two pods would share a node"
        assert 0 < quantities.in_bytes(made.shared_memory) < memory, name
        assert int(made.requests.get("vpc.amazonaws.com/efa", "0")) <= (node.efa or 0), name


def test_quantities_are_integers_for_the_whole_catalogue() -> None:
    for name in DOCUMENTED:
        made = of(instanceType=name, nodes=2)
        for resource, quantity in {**made.requests, **made.limits, "shm": made.shared_memory}.items():
            assert quantity.removesuffix("Mi").removesuffix("m").isdigit(), f"{name} {resource} {quantity}"


def test_the_reserve_has_room_for_the_sidecar_beside_the_daemonsets() -> None:
    helper = pods.SMALL["requests"]
    assert 780 + quantities.millicores(helper["cpu"]) <= demand.RESERVED_CPU
    assert 600 * quantities.MIB + quantities.in_bytes(helper["memory"]) <= demand.RESERVED_MEMORY * quantities.MIB


# -- shared memory -------------------------------------------------------------------------------------------------------

# spec, /dev/shm, memory limit, reason
SHARED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"instanceType": "p4de.24xlarge", "sharedMemoryGiB": 512}, "524288Mi", "1071432Mi", "512 GiB fit into the node's memory"),
    ({"instanceType": "p4de.24xlarge"}, "535716Mi", "1071432Mi", "half, as the kernel's own default"),
    ({"instanceType": "g5.xlarge", "sharedMemoryGiB": 512}, "9853Mi", "13138Mi", "cut to three quarters of what the pod has"),
    ({}, "1024Mi", "2048Mi", "half of the default"),
    ({"sharedMemoryGiB": 4}, "4096Mi", "6144Mi", "by hand it comes on top: the program keeps its 2Gi"),
    ({"resources": {"memory": "8Gi"}, "sharedMemoryGiB": 2}, "2048Mi", "10240Mi", "by hand it comes on top"),
    ({"resources": {"memory": "3G"}}, "1430Mi", "3000000000", "half, in whole Mi"),
]


@pytest.mark.parametrize(("spec", "shared", "limit", "reason"), SHARED)
def test_shared_memory_is_part_of_the_limit(spec: dict[str, Any], shared: str, limit: str, reason: str) -> None:
    made = of(**spec)
    assert (made.shared_memory, made.limits["memory"]) == (shared, limit), reason
    assert made.requests["memory"] == limit


# -- environment, rights -------------------------------------------------------------------------------------------------

PLUGIN = "/opt/amazon/ofi-nccl/lib/libnccl-net.so"
NCCL = {"NCCL_SOCKET_IFNAME": "^lo,docker,veth", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1"}
EFA = {"FI_PROVIDER": "efa", "FI_EFA_USE_HUGE_PAGE": "0"}

# spec, environment, capabilities, reason
FABRIC: list[tuple[dict[str, Any], dict[str, str], tuple[str, ...], str]] = [
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2},
        {**NCCL, **EFA, "NCCL_NET_PLUGIN": PLUGIN},
        ("IPC_LOCK",),
        "the plugin is named because images that default to another one fall back to TCP",
    ),
    ({"instanceType": "p4de.24xlarge", "nodes": 2, "fabric": {"efa": "None"}}, NCCL, (), "no EFA, no rights for it"),
    ({"instanceType": "p4de.24xlarge"}, NCCL, (), "one pod needs no EFA"),
    ({"instanceType": "g5.xlarge", "nodes": 2}, {**NCCL, "NCCL_SHM_USE_CUDA_MEMCPY": "1"}, (), "g5: about twice as fast"),
    (
        {"instanceType": "g6.8xlarge", "nodes": 2},
        {**NCCL, **EFA, "NCCL_NET_PLUGIN": PLUGIN, "NCCL_SHM_USE_CUDA_MEMCPY": "1"},
        ("IPC_LOCK",),
        "g6 as g5, here with EFA",
    ),
    ({"instanceType": "g6e.xlarge", "nodes": 2}, NCCL, (), "nothing is said about g6e, so nothing is set"),
    ({"instanceType": "trn1.32xlarge", "nodes": 2}, EFA, ("IPC_LOCK",), "Neuron has no NCCL"),
    ({"instanceType": "c5.2xlarge", "nodes": 2}, {}, (), "gloo finds the pod's address by its host name"),
    ({"nodes": 2}, {}, (), "the default is a CPU pod"),
    ({"resources": {"gpus": 1}}, NCCL, (), "GPUs by hand"),
    ({"resources": {"gpus": 8, "efa": 4}}, {**NCCL, **EFA, "NCCL_NET_PLUGIN": PLUGIN}, ("IPC_LOCK",), "EFA by hand"),
]


@pytest.mark.parametrize(("spec", "env", "capabilities", "reason"), FABRIC)
def test_environment_and_capabilities(
    spec: dict[str, Any], env: dict[str, str], capabilities: tuple[str, ...], reason: str
) -> None:
    made = of(**spec)
    assert made.env == env, reason
    assert made.capabilities == capabilities, reason


def test_what_breaks_newer_kernels_is_never_set() -> None:
    for name in DOCUMENTED:
        assert not {"RDMAV_FORK_SAFE", "FI_EFA_USE_DEVICE_RDMA", "NCCL_PROTO"} & set(of(instanceType=name, nodes=2).env), name


def test_huge_pages_are_asked_for_as_requests_and_limits_when_the_user_turns_them_on() -> None:
    made = of(instanceType="p5.48xlarge", nodes=2, env=[{"name": "FI_EFA_USE_HUGE_PAGE", "value": "1"}])
    assert made.requests["hugepages-2Mi"] == made.limits["hugepages-2Mi"] == "5120Mi"
    assert made.env["FI_EFA_USE_HUGE_PAGE"] == "1"
    assert {"cpu", "memory"} <= set(made.requests), "Kubernetes admits huge pages only with a request for cpu or memory"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"instanceType": "p5.48xlarge", "nodes": 2}, "off by default: data loaders that fork die with them"),
        (
            {"instanceType": "p5.48xlarge", "nodes": 2, "env": [{"name": "FI_EFA_USE_HUGE_PAGE", "value": "0"}]},
            "turned off in so many words",
        ),
        (
            {"instanceType": "g5.xlarge", "nodes": 2, "env": [{"name": "FI_EFA_USE_HUGE_PAGE", "value": "1"}]},
            "nothing pre-allocates pages on a node without EFA",
        ),
    ],
)
def test_huge_pages_are_else_not_asked_for(spec: dict[str, Any], reason: str) -> None:
    assert "hugepages-2Mi" not in of(**spec).requests, reason


# -- processes and warnings ----------------------------------------------------------------------------------------------

# spec, processes, warnings, reason
PROCESSES: list[tuple[dict[str, Any], int, tuple[str, ...], str]] = [
    ({"instanceType": "p4de.24xlarge", "nodes": 2}, 8, (), "one process a GPU"),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "procsPerNode": 1},
        1,
        ("procsPerNode 1 uses 1 of 8 GPUs of a pod: 14 of 16 (87.5 %) stay idle",),
        "honoured, but the idle share is said",
    ),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "procsPerNode": 4},
        4,
        ("procsPerNode 4 uses 4 of 8 GPUs of a pod: 8 of 16 (50 %) stay idle",),
        "half of them",
    ),
    (
        {"resources": {"gpus": 1}, "procsPerNode": 2},
        2,
        ("procsPerNode 2 is more than the 1 GPU of a pod: processes share devices",),
        "possible, seldom meant",
    ),
    ({"resources": {"gpus": 2}}, 2, (), "GPUs by hand"),
    ({}, 1, (), "never less than one"),
    ({"instanceType": "c5.2xlarge", "procsPerNode": 4}, 4, (), "processes on CPUs are the user's business"),
    ({"instanceType": "trn1.32xlarge"}, 32, (), "one process a NeuronCore"),
    ({"instanceType": "trn2.48xlarge"}, 64, (), "Trainium2 shows two physical cores as one"),
    (
        {"instanceType": "trn1.2xlarge", "procsPerNode": 1},
        1,
        ("procsPerNode 1 uses 1 of 2 NeuronCores of a pod: 1 of 2 (50 %) stay idle",),
        "idle NeuronCores cost as much",
    ),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "fabric": {"efa": "None"}},
        8,
        ("fabric.efa None leaves 4 EFA devices of each pod unused: its traffic goes over TCP",),
        "slow by choice",
    ),
    ({"instanceType": "p4de.24xlarge", "fabric": {"efa": "None"}}, 8, (), "one pod has no such traffic"),
    (
        {"instanceType": "g5.xlarge", "nodes": 2, "fabric": {"efa": "DevicePlugin"}},
        1,
        ("g5.xlarge has no EFA devices: the pods talk over TCP",),
        "asked for and not to be had",
    ),
    (
        {"instanceType": "g5.xlarge", "sharedMemoryGiB": 512},
        1,
        ("sharedMemoryGiB 512 is cut to 9: it is part of the 12 GiB of a pod",),
        "a pod cannot have more shared memory than memory",
    ),
]


@pytest.mark.parametrize(("spec", "processes", "warnings", "reason"), PROCESSES)
@pytest.mark.proves("17.3")
def test_processes_and_warnings(spec: dict[str, Any], processes: int, warnings: tuple[str, ...], reason: str) -> None:
    made = of(**spec)
    assert (made.procs_per_node, made.warnings) == (processes, warnings), reason


# -- placement -----------------------------------------------------------------------------------------------------------

APART = {REQUIRED: [term(HOSTNAME)]}


def wish(*keys: str) -> list[dict[str, Any]]:
    return [{"weight": 100, "podAffinityTerm": term(key)} for key in keys]


# spec, affinity, topology keys, reason
PLACEMENT: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...], str]] = [
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2},
        {"podAffinity": {REQUIRED: [term(ZONE)]}, "podAntiAffinity": APART},
        (ZONE,),
        "one pod a node, all in one zone",
    ),
    ({"instanceType": "p4de.24xlarge"}, {}, (), "one pod is close to itself"),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "placement": {"sameZone": False}},
        {"podAntiAffinity": APART},
        (),
        "zones do not matter when the spec says so",
    ),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "placement": {"sameRack": "Required"}},
        {"podAffinity": {REQUIRED: [term(ZONE), term(RACK)]}, "podAntiAffinity": APART},
        (ZONE, RACK),
        "all under one network node",
    ),
    (
        {"instanceType": "p4de.24xlarge", "nodes": 2, "placement": {"sameRack": "Preferred"}},
        {"podAffinity": {REQUIRED: [term(ZONE)], PREFERRED: wish(RACK)}, "podAntiAffinity": APART},
        (ZONE,),
        "near each other if it can be had",
    ),
    (
        {"nodes": 2},
        {"podAffinity": {PREFERRED: wish(ZONE)}},
        (),
        "nodes at home have no zone labels: the default must still schedule, two on one node if need be",
    ),
    (
        {"nodes": 2, "placement": {}},
        {"podAffinity": {REQUIRED: [term(ZONE)]}},
        (ZONE,),
        "a placement that is written down is meant",
    ),
]


@pytest.mark.parametrize(("spec", "affinity", "keys", "reason"), PLACEMENT)
def test_pods_are_placed(spec: dict[str, Any], affinity: dict[str, Any], keys: tuple[str, ...], reason: str) -> None:
    made = of(**spec)
    assert made.affinity == affinity, reason
    assert made.topology_keys == keys, reason


def test_avoided_nodes_are_excluded_in_an_order_that_does_not_change() -> None:
    made = of(avoid=("b", "a", "b"))
    expression = {"key": HOSTNAME, "operator": "NotIn", "values": ["a", "b"]}
    assert made.affinity["nodeAffinity"] == {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    assert of(avoid=("a", "b")).affinity == made.affinity


def test_without_labels_there_are_no_terms_between_pods_because_an_empty_selector_means_every_pod() -> None:
    made = of(avoid=("a",), labels={}, instanceType="p4de.24xlarge", nodes=2)
    assert set(made.affinity) == {"nodeAffinity"}


def test_labels_default_to_none() -> None:
    assert shape(KubernetesTraining(runtime="nemo", nodes=2)).affinity == {}


def test_the_node_is_chosen_by_instance_type_and_by_the_users_selector() -> None:
    made = of(instanceType="p4de.24xlarge", placement={"nodeSelector": {"team": "a"}})
    assert made.node_selector == {"team": "a", "node.kubernetes.io/instance-type": "p4de.24xlarge"}
    assert of().node_selector == {}


def test_a_selector_that_contradicts_the_instance_type_is_refused() -> None:
    with pytest.raises(ContradictoryPlacement, match=r"g5\.xlarge.*p4de\.24xlarge"):
        of(instanceType="p4de.24xlarge", placement={"nodeSelector": {"node.kubernetes.io/instance-type": "g5.xlarge"}})


GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
NEURON_TAINT = {"key": "aws.amazon.com/neuron", "operator": "Exists", "effect": "NoSchedule"}
THEIRS = {"key": "team", "operator": "Equal", "value": "a"}


@pytest.mark.parametrize(
    ("spec", "tolerations", "reason"),
    [
        ({"instanceType": "p4de.24xlarge"}, (GPU_TAINT,), "GPU nodes are tainted by custom"),
        ({"resources": {"gpus": 1}}, (GPU_TAINT,), "GPUs by hand"),
        ({"instanceType": "trn1.2xlarge"}, (NEURON_TAINT,), "and so are Neuron nodes"),
        ({"instanceType": "c5.2xlarge"}, (), "a CPU pod must keep off them"),
        ({"placement": {"tolerations": [{"key": "team", "value": "a"}]}}, (THEIRS,), "the user's, as core/v1 wants them"),
        (
            {"instanceType": "p4de.24xlarge", "placement": {"tolerations": [{"key": "team", "value": "a"}]}},
            (GPU_TAINT, THEIRS),
            "both",
        ),
    ],
)
def test_tolerations(spec: dict[str, Any], tolerations: tuple[dict[str, str], ...], reason: str) -> None:
    assert of(**spec).tolerations == tolerations, reason


# -- errors --------------------------------------------------------------------------------------------------------------

# spec, error, what its message must say, reason
ERRORS: list[tuple[dict[str, Any], type[Terminal], str, str]] = [
    ({"instanceType": "p5.24xlarge"}, UnknownInstanceType, r"did you mean p5\.4xlarge or p5\.48xlarge\?", "sizes of the family"),
    ({"instanceType": "p5em.48xlarge"}, UnknownInstanceType, r"p5en\.48xlarge", "names spelled alike"),
    ({"instanceType": "zzzzz.zzzzz"}, UnknownInstanceType, "give `resources`", "there is a way out where nothing is similar"),
    (
        {"instanceType": "p6e-gb200.36xlarge"},
        UndocumentedInstanceType,
        "not documented: give `resources`",
        "no figure is guessed",
    ),
    ({"resources": {"memory": "0"}}, BadResources, "more than nothing", "a pod without memory cannot run"),
    ({"resources": {"cpu": "0"}}, BadResources, "more than nothing", "nor without CPU"),
]


@pytest.mark.parametrize(("spec", "error", "says", "reason"), ERRORS)
def test_what_cannot_be_is_terminal(spec: dict[str, Any], error: type[Terminal], says: str, reason: str) -> None:
    with pytest.raises(error, match=says):
        of(**spec)
    assert issubclass(error, Terminal), reason


# -- quantities ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [("1", 1000), ("0.5", 500), ("250m", 250), ("1.0001", 1001), ("2k", 2_000_000), ("0.0000001", 1)],
)
def test_cpu_is_read_in_millicores_rounded_up(quantity: str, amount: int) -> None:
    assert quantities.millicores(quantity) == amount


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("2Gi", 2 * 1024**3),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("1G", 10**9),
        ("1Ki", 1024),
        ("1Ti", 1024**4),
        ("1P", 10**15),
        ("1Pi", 1024**5),
        ("1500m", 2),
        ("0", 0),
    ],
)
def test_memory_is_read_in_bytes_rounded_up(quantity: str, amount: int) -> None:
    assert quantities.in_bytes(quantity) == amount


@pytest.mark.parametrize("text", ["", "1Q", "-1", "1e3", "Gi", " 1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        quantities.in_bytes(text)
