"""The control plane: which flags each program gets, the order they start in, and what "ready" means for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.local import processes
from millrace.cli.local.api import open_api
from millrace.cli.local.errors import LocalError
from millrace.cli.local.ports import check_port_free
from millrace.cli.local.settings import Cluster
from millrace.cli.local.waiting import wait_for

_DEADLINE = 60.0  # a cold page cache and two busy cores; 3 s is usual


@dataclass(frozen=True)
class Program:
    """One program of the control plane, run on this machine."""

    name: str
    flags: Callable[[Cluster], list[str]]
    ports: tuple[int, ...]  # as in slot 0


def etcd_flags(cluster: Cluster) -> list[str]:
    peer = f"https://127.0.0.1:{cluster.port(2380)}"
    files = [f"--{prefix}{name}" for prefix in ("", "peer-") for name in _tls(cluster, "etcd", "trusted-ca-file")]
    return [
        "--name=default",
        f"--data-dir={cluster.state}/etcd",
        f"--listen-client-urls={cluster.etcd_url}",
        f"--advertise-client-urls={cluster.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        *files,
        "--client-cert-auth",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",  # what a power cut would lose is a throw-away cluster
        "--quota-backend-bytes=8589934592",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
        "--log-level=warn",
    ]


def _tls(cluster: Cluster, name: str, authority_flag: str) -> tuple[str, ...]:
    return (
        f"cert-file={cluster.pki}/{name}.crt",
        f"key-file={cluster.pki}/{name}.key",
        f"{authority_flag}={cluster.pki}/ca.crt",
    )


def apiserver_flags(cluster: Cluster) -> list[str]:
    pki = cluster.pki
    return [
        f"--etcd-servers={cluster.etcd_url}",
        f"--etcd-cafile={pki}/ca.crt",
        f"--etcd-certfile={pki}/etcd.crt",
        f"--etcd-keyfile={pki}/etcd.key",
        "--bind-address=0.0.0.0",
        f"--secure-port={cluster.port(6443)}",
        f"--advertise-address={cluster.host_address}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={cluster.service_network}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        "--allow-privileged=true",
    ]


def controller_manager_flags(cluster: Cluster) -> list[str]:
    return [
        *_account(cluster, "controller-manager"),
        "--bind-address=127.0.0.1",
        f"--secure-port={cluster.port(10257)}",
        f"--service-account-private-key-file={cluster.pki}/service-account.key",
        f"--root-ca-file={cluster.pki}/ca.crt",
        f"--cluster-signing-cert-file={cluster.pki}/ca.crt",
        f"--cluster-signing-key-file={cluster.pki}/ca.key",
        f"--requestheader-client-ca-file={cluster.pki}/front-proxy-ca.crt",
        "--use-service-account-credentials=true",
        # The default of 20 requests a second makes pods slower than the operator under test makes Jobs.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=16s",
        f"--flex-volume-plugin-dir={cluster.state}/flex-volume",
    ]


def scheduler_flags(cluster: Cluster) -> list[str]:
    return [
        *_account(cluster, "scheduler"),
        "--bind-address=127.0.0.1",
        f"--secure-port={cluster.port(10259)}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def _account(cluster: Cluster, name: str) -> list[str]:
    path = cluster.pki / f"{name}.kubeconfig"
    files = [f"--{use}={path}" for use in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")]
    return [*files, f"--cert-dir={cluster.state}/serving-{name}", "--leader-elect=false"]


ETCD = Program("etcd", etcd_flags, (2379, 2380))
APISERVER = Program("kube-apiserver", apiserver_flags, (6443,))
CONTROLLER_MANAGER = Program("kube-controller-manager", controller_manager_flags, (10257,))
SCHEDULER = Program("kube-scheduler", scheduler_flags, (10259,))
PROGRAMS = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER)


def ensure_api(cluster: Cluster, binary: Path) -> None:
    """etcd and the API server, until /readyz says ok."""
    ensure_program(cluster, ETCD, binary)
    ensure_program(cluster, APISERVER, binary)
    wait_for("the API server to be ready", lambda: _ready(cluster), _DEADLINE, _look(cluster, APISERVER))


def ensure_controllers(cluster: Cluster, binary: Path) -> None:
    for program in (CONTROLLER_MANAGER, SCHEDULER):
        ensure_program(cluster, program, binary)


def ensure_program(cluster: Cluster, program: Program, binary: Path) -> None:
    if processes.running(cluster, program.name) is not None:
        return
    for port in program.ports:
        check_port_free(cluster.port(port), program.name)
    processes.spawn(cluster, program.name, [binary, program.name, *program.flags(cluster)])


def _ready(cluster: Cluster) -> str:
    for program in (ETCD, APISERVER):
        processes.require_running(cluster, program.name)
    return open_api(cluster.kubeconfig).text("/readyz")


def _look(cluster: Cluster, program: Program) -> str:
    return f"Read {cluster.logs / program.name}.log; `millrace local down` clears the way for a new start."


def log_file(cluster: Cluster, component: str) -> Path:
    """The log of a component; a wrong name is answered with the right ones."""
    path = cluster.logs / f"{component}.log"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in cluster.logs.glob("*.log"))) or "none yet"
        raise LocalError(f"there is no log of {component!r}", f"Logs of this cluster: {known}.")
    return path
