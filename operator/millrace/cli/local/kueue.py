"""Kueue as a program of this machine: its definitions, its webhooks, its configuration and its life."""

from __future__ import annotations

import base64
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from millrace.cli.local import builds, pki, processes
from millrace.cli.local.errors import LocalError
from millrace.cli.local.ports import check_port_free
from millrace.cli.local.programs import run
from millrace.cli.local.settings import Cluster, replace_text
from millrace.cli.local.waiting import NotYet, wait_for

Object = dict[str, Any]

KUEUE = "kueue"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_WEBHOOK_PORT, _HEALTH_PORT = 10243, 10244
_GROUPS = frozenset({"kueue.x-k8s.io", "batch"})
_CERTIFICATES = "etc/kueue/metrics/certs"  # the program has this path built in and ends where it is missing
_START = 'mount --bind "$0" /etc && exec "$@"'
_SECONDS = 60.0


@dataclass(frozen=True)
class Built:
    """What `build` leaves in the cache."""

    program: Path
    manifests: Path


def build() -> Built:
    return Built(builds.ensure_tool(builds.KUEUE), builds.ensure_kueue_manifests())


def configuration(cluster: Cluster) -> str:
    document = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{cluster.port(_HEALTH_PORT)}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": cluster.port(_WEBHOOK_PORT), "certDir": f"/{_CERTIFICATES}"},
        "internalCertManagement": {"enable": False},
        "leaderElection": {"leaderElect": False},
        "manageJobsWithoutQueueName": False,
        "integrations": {"frameworks": ["batch/job"]},
        # An API server of its own for questions about queues, which nobody asks here.
        "featureGates": {"VisibilityOnDemand": False},
    }
    return yaml.safe_dump(document, sort_keys=False)


def definitions(published: str) -> list[Object]:
    return [document for document in _documents(published) if document["kind"] == "CustomResourceDefinition"]


def webhooks(cluster: Cluster, published: str, authority: bytes) -> list[Object]:
    """Kueue's webhooks for its own kinds and for Jobs with a queue's name, called on this machine; no other Job passes them."""
    made = []
    for document in _documents(published):
        if document["kind"].endswith("WebhookConfiguration"):
            kept = [_webhook(cluster, hook, authority) for hook in document["webhooks"] if _is_wanted(hook)]
            name = f"{KUEUE}-{document['metadata']['name']}"
            made.append({**document, "metadata": {"name": name}, "webhooks": kept})
    return made


def _documents(published: str) -> list[Object]:
    return [document for document in yaml.load_all(published, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if document]


def _is_wanted(hook: Object) -> bool:
    return all(set(rule["apiGroups"]) <= _GROUPS for rule in hook["rules"])


def _webhook(cluster: Cluster, hook: Object, authority: bytes) -> Object:
    """`Ignore`: while Kueue is not there a Job starts at once instead of being refused."""
    path = hook["clientConfig"]["service"]["path"]
    client = {
        "url": f"https://127.0.0.1:{cluster.port(_WEBHOOK_PORT)}{path}",
        "caBundle": base64.b64encode(authority).decode(),
    }
    made = {**hook, "clientConfig": client, "failurePolicy": "Ignore", "timeoutSeconds": 5}
    if any("batch" in rule["apiGroups"] for rule in hook["rules"]):
        made["objectSelector"] = {"matchExpressions": [{"key": QUEUE_LABEL, "operator": "Exists"}]}
    return made


def ensure_kueue(cluster: Cluster, built: Built) -> None:
    """Starts Kueue unless it runs. The webhooks come last: nothing is to call a program that is not there yet."""
    published = built.manifests.read_text()
    if processes.running(cluster, KUEUE) is None:
        _apply(cluster, definitions(published))
        _wait_definitions(cluster, definitions(published))
        _start(cluster, built.program)
    _apply(cluster, webhooks(cluster, published, (cluster.pki / "ca.crt").read_bytes()))


def _apply(cluster: Cluster, documents: list[Object]) -> None:
    """Server-side: the definitions are larger than the annotation that would remember them."""
    argv = [cluster.bin / "kubectl", "--kubeconfig", cluster.kubeconfig, "apply", "--server-side", "--force-conflicts", "-f", "-"]
    run(argv, what="apply Kueue's manifests", fix=_again(cluster), stdin=yaml.safe_dump_all(documents))


def _wait_definitions(cluster: Cluster, documents: list[Object]) -> None:
    names = [f"crd/{document['metadata']['name']}" for document in documents]
    argv = [cluster.bin / "kubectl", "--kubeconfig", cluster.kubeconfig, "wait", "--for=condition=Established", *names]
    run(argv, what="wait for Kueue's definitions", fix=_again(cluster))


def _start(cluster: Cluster, program: Path) -> None:
    for port in (_WEBHOOK_PORT, _HEALTH_PORT):
        check_port_free(cluster.port(port), KUEUE)
    folder = cluster.state / KUEUE
    pki.ensure_serving(cluster, folder / _CERTIFICATES, KUEUE)
    replace_text(folder / "config.yaml", configuration(cluster))
    flags = [f"--config={folder}/config.yaml", f"--kubeconfig={cluster.pki}/addons.kubeconfig"]
    processes.spawn(cluster, KUEUE, [*_own_etc(folder / "etc"), program, *flags])


def _own_etc(folder: Path) -> list[str | Path]:
    """The program sees a /etc of its own, by a mount that ends with it; it becomes the very process that was started."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise LocalError("unshare is not installed", "Install the package util-linux.")
    return [unshare, "--mount", "sh", "-c", _START, folder]


def wait_kueue(cluster: Cluster) -> None:
    """Until its webhooks answer."""

    def probe() -> None:
        processes.require_running(cluster, KUEUE)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{cluster.port(_HEALTH_PORT)}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as refused:
            with refused:
                raise NotYet(f"it answers {refused.code}") from refused

    wait_for("Kueue to be ready", probe, _SECONDS, f"Read {cluster.logs}/{KUEUE}.log.")


def _again(cluster: Cluster) -> str:
    return f"Run `millrace local addon {KUEUE} --name {cluster.name}` again."
