"""What a usable cluster has on top of Kubernetes: DNS, a default shared StorageClass and, when asked for, kwok's nodes."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from millrace.cli.local import processes
from millrace.cli.local.ports import check_port_free
from millrace.cli.local.programs import run
from millrace.cli.local.settings import Cluster, replace_text
from millrace.cli.local.waiting import NotYet, wait_for

STORAGE_CLASS = "millrace-shared"
COREDNS = "coredns"
PROVISIONER = "shared-provisioner"
KWOK = "kwok"
_DNS_PORT, _READY_PORT, _KWOK_PORT = 10053, 10054, 10247
KWOK_ANNOTATION = "kwok.x-k8s.io/node"


def corefile(cluster: Cluster, resolv_conf: str) -> str:
    """No cache: a pod that asks for its peers a moment too early must not be told "no such name" for long."""
    forward = "\n  forward . /etc/resolv.conf" if _has_nameserver(resolv_conf) else ""
    return f""".:{cluster.port(_DNS_PORT)} {{
  bind {cluster.host_address}
  errors
  ready 127.0.0.1:{cluster.port(_READY_PORT)}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {cluster.pki}/addons.kubeconfig
    ttl 5
  }}{forward}
}}
"""


def _has_nameserver(resolv_conf: str) -> bool:
    return any(line.split()[:1] == ["nameserver"] for line in resolv_conf.splitlines())


def manifests(cluster: Cluster) -> list[dict[str, Any]]:
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": cluster.port(_DNS_PORT)},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": cluster.port(_DNS_PORT)},
    ]
    endpoint_ports = [{"name": p["name"], "protocol": p["protocol"], "port": p["targetPort"]} for p in ports]
    labels = {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "millrace.dev"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": cluster.dns_address, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kube-dns-host", "namespace": "kube-system", "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [cluster.host_address], "conditions": {"ready": True}}],
            "ports": endpoint_ports,
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "millrace.dev/shared-directory",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        },
    ]


def apply_manifests(cluster: Cluster, kubectl: Path) -> None:
    text = yaml.safe_dump_all(manifests(cluster), sort_keys=False)
    argv = [kubectl, "--kubeconfig", cluster.kubeconfig, "apply", "-f", "-"]
    run(argv, what="apply DNS and storage", fix="Run `millrace local up` again.", stdin=text)


def ensure_provisioner(cluster: Cluster, binary: Path) -> None:
    if processes.running(cluster, PROVISIONER) is None:
        cluster.volumes.mkdir(parents=True, exist_ok=True)
        flags = [f"--kubeconfig={cluster.pki}/addons.kubeconfig", f"--root={cluster.volumes}"]
        processes.spawn(cluster, PROVISIONER, [binary, PROVISIONER, *flags])


def ensure_dns(cluster: Cluster, binary: Path) -> None:
    if processes.running(cluster, COREDNS) is None:
        check_port_free(cluster.port(_READY_PORT), COREDNS)
        config = cluster.state / "Corefile"
        resolv_conf = Path("/etc/resolv.conf")
        replace_text(config, corefile(cluster, resolv_conf.read_text() if resolv_conf.exists() else ""))
        processes.spawn(cluster, COREDNS, [binary, "-conf", config])


def wait_dns(cluster: Cluster) -> None:
    def probe() -> None:
        processes.require_running(cluster, COREDNS)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port(_READY_PORT)}/ready", timeout=5):
                return
        except urllib.error.HTTPError as refused:
            with refused:
                raise NotYet(f"it answers {refused.code}") from refused

    wait_for("cluster DNS to be ready", probe, 60, f"Read {cluster.logs}/{COREDNS}.log.")


def ensure_kwok(cluster: Cluster, binary: Path) -> None:
    """kwok plays the kubelet of every Node that carries its annotation; real nodes are left alone."""
    if processes.running(cluster, KWOK) is None:
        check_port_free(cluster.port(_KWOK_PORT), KWOK)
        flags = [
            f"--kubeconfig={cluster.pki}/addons.kubeconfig",
            f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake",
            f"--server-address=127.0.0.1:{cluster.port(_KWOK_PORT)}",
            "--node-lease-duration-seconds=40",
        ]
        processes.spawn(cluster, KWOK, [binary, *flags])
