"""Pure renderings of what a node is configured by: containerd, CNI, kubelet, kube-proxy and the node's own init."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from millrace.cli.local.settings import Cluster, Options, node_name

SNAPSHOTTER = "overlayfs"
# The kubelet sets these for the whole machine unless they already read so; in a node they are files that read so.
TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def containerd_config(root: Path, folder: Path, sandbox_image: str) -> str:
    """`root` holds the images; `folder` is the node's own."""
    return f"""version = 2
root = "{root}"
state = "/run/containerd-state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true  # runc dies where the capability to lower the score is missing
  sandbox_image = "{sandbox_image}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{SNAPSHOTTER}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni-config"
"""


def cni_config(cluster: Cluster, number: int) -> str:
    """Point-to-point links: on a bridge, a reply between two pods of one node would bypass the service's address."""
    ipam = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": cluster.pod_subnet(number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "millrace", "plugins": plugins}, indent=2)


def kubelet_config(cluster: Cluster, folder: Path, node: str) -> str:
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{cluster.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}/{node}",
        "clusterDNS": [cluster.dns_address],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "enforceNodeAllocatable": [],
        # The disk is the machine's, not the node's: only a disk that is really full may evict.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        # An image that was collected could not be pulled again: there is no registry.
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "nodeLeaseDurationSeconds": 16,
        "nodeStatusUpdateFrequency": "4s",
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    }
    return yaml.safe_dump(document, sort_keys=False)


def kubelet_flags(cluster: Cluster, folder: Path, number: int, options: Options) -> list[str]:
    labels = ",".join(f"{name}={value}" for name, value in node_labels(number, options).items())
    return [
        f"--config={folder}/kubelet.yaml",
        f"--kubeconfig={cluster.pki}/{node_name(number)}.kubeconfig",
        f"--hostname-override={node_name(number)}",
        f"--node-ip={cluster.node_address(number)}",
        f"--node-labels={labels}",
    ]


def proxy_flags(cluster: Cluster, node: str) -> list[str]:
    return [
        f"--kubeconfig={cluster.pki}/proxy.kubeconfig",
        f"--hostname-override={node}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={cluster.pod_network}",
        # These limits are the machine's, and a namespace may not write them.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]


def node_labels(number: int, options: Options) -> dict[str, str]:
    """Labels as EC2 instances of one placement group carry them: two nodes per switch, four per switch group."""
    return {
        "node.kubernetes.io/instance-type": options.instance_type,
        "topology.kubernetes.io/region": options.zone[:-1],
        "topology.kubernetes.io/zone": options.zone,
        "topology.k8s.aws/zone-id": zone_id(options.zone),
        "topology.k8s.aws/network-node-layer-1": "nn-local-1",
        "topology.k8s.aws/network-node-layer-2": f"nn-local-2-{(number - 1) // 4 + 1}",
        "topology.k8s.aws/network-node-layer-3": f"nn-local-3-{(number - 1) // 2 + 1}",
    }


def zone_id(zone: str) -> str:
    """`us-east-1a` -> `use1-az1`, `ap-southeast-2b` -> `apse2-az2`: a plausible id in AWS' own form."""
    area, direction, number = zone[:-1].rsplit("-", 2)
    short = {"northeast": "ne", "southeast": "se", "northwest": "nw", "southwest": "sw"}.get(direction, direction[0])
    return f"{area.replace('-', '')}{short}{number}-az{ord(zone[-1]) - ord('a') + 1}"


def init_config(hostname: str, mounts: list[tuple[Path, str]], processes: list[dict[str, Any]], network: bool) -> str:
    """The file that the node's init reads (images/local-cluster/node.go)."""
    return json.dumps(
        {
            "hostname": hostname,
            "network": network,
            "mounts": [{"source": str(source), "target": target} for source, target in mounts],
            "processes": processes,
        },
        indent=2,
    )
