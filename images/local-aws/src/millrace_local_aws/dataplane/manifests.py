"""What the Kubernetes runner asks the cluster for: a Job a training attempt, a Deployment an endpoint variant. Pure functions.

Beside the user's container stand two of ours: one brings inputs and model before it starts, one takes checkpoints, output and
model away. They share the volume in place of /opt/ml, a user, and the process namespace, so that the second can hand SIGTERM on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from millrace_local_aws.dataplane import contract
from millrace_local_aws.dataplane.runner import EndpointTask, TrainingTask

Manifest = dict[str, Any]
LABEL = "millrace.dev/local-aws"
TASK = "millrace.dev/local-aws-task"
MAIN = "algo-1"
MARK = "MILLRACE_LOCAL_AWS_MAIN"
ML = "/opt/ml"


@dataclass(frozen=True)
class Placement:
    """Options of the runner. `images` maps image patterns to the image to run, or to {"image": ..., "command": [...]}."""

    namespace: str
    own_image: str
    endpoint_url: str
    images: Mapping[str, Any] = field(default_factory=dict)
    user: int = 65532
    resources: Mapping[str, Any] = field(default_factory=dict)
    pull_policy: str = "IfNotPresent"

    def image(self, asked: str) -> tuple[str, list[str]]:
        """What runs in place of the image asked for, and its command if it is not its own."""
        found = next((value for pattern, value in self.images.items() if fnmatchcase(asked, pattern)), asked)
        return (found, []) if isinstance(found, str) else (found["image"], list(found.get("command", [])))


def name_of(task: str) -> str:
    """The same for the same task, always."""
    return f"local-aws-{hashlib.sha256(task.encode()).hexdigest()[:16]}"


def _environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _security() -> Manifest:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _ours(place: Placement, name: str, verb: str, document: Manifest) -> Manifest:
    values = {"MILLRACE_TASK": json.dumps(document), "MILLRACE_LOCAL_AWS": place.endpoint_url, "MILLRACE_ML": ML}
    return {
        "name": name,
        "image": place.own_image,
        "imagePullPolicy": place.pull_policy,
        "command": ["python3", "-m", "millrace_local_aws.dataplane.pod", verb],
        "env": _environment(values),
        "volumeMounts": [{"name": "ml", "mountPath": ML}, {"name": "tmp", "mountPath": "/tmp"}],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": _security(),
    }


def _main(
    place: Placement, image: str, verb: str, environment: Mapping[str, str], command: tuple[str, ...], args: tuple[str, ...]
) -> Manifest:
    found, own = place.image(image)
    container: Manifest = {
        "name": MAIN,
        "image": found,
        "imagePullPolicy": place.pull_policy,
        "env": _environment({**environment, MARK: "1"}),
        "volumeMounts": [
            {"name": "ml", "mountPath": ML},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
        "resources": dict(place.resources),
        "securityContext": _security(),
    }
    if command or own:
        container["command"] = list(command or own)
    container["args"] = list(args) if command else list(args or (verb,))
    return container


def _pod(place: Placement, task: str, containers: list[Manifest], before: Manifest, restart: str) -> Manifest:
    labels = {LABEL: "data-plane", TASK: name_of(task)}
    spec = {
        "restartPolicy": restart,
        "shareProcessNamespace": True,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "initContainers": [before],
        "containers": containers,
        "volumes": [
            {"name": "ml", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": place.user,
            "runAsGroup": place.user,
            "fsGroup": place.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"metadata": {"labels": labels, "annotations": {TASK: task}}, "spec": spec}


def training_environment(task: TrainingTask) -> dict[str, str]:
    """As in a container of SageMaker's own: paths are below /opt/ml."""
    from pathlib import Path

    return contract.training_environment(Path(ML), task)


def training(place: Placement, task: TrainingTask) -> Manifest:
    """A Job of one pod that is never tried again: SageMaker's control plane decides about that."""
    document = contract.plain(task)
    main = _main(place, task.image, "train", training_environment(task), task.entrypoint, task.arguments)
    pod = _pod(
        place, task.id, [main, _ours(place, "outputs", "collect", document)], _ours(place, "inputs", "prepare", document), "Never"
    )
    metadata = {
        "name": name_of(task.id),
        "namespace": place.namespace,
        "labels": {LABEL: "data-plane"},
        "annotations": {TASK: task.id},
    }
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600, "template": pod}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def serving(place: Placement, task: EndpointTask) -> Manifest:
    """A Deployment of one pod that answers on 8080."""
    environment = {"SAGEMAKER_BASE_DIR": ML, "SM_MODEL_DIR": f"{ML}/model", "AWS_REGION": task.region} | dict(task.environment)
    main = _main(place, task.image, "serve", environment, (), ())
    main["ports"] = [{"containerPort": 8080}]
    main["readinessProbe"] = {"httpGet": {"path": "/ping", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 2}
    pod = _pod(place, task.id, [main], _ours(place, "inputs", "model", contract.plain(task)), "Always")
    metadata = {
        "name": name_of(task.id),
        "namespace": place.namespace,
        "labels": {LABEL: "data-plane"},
        "annotations": {TASK: task.id},
    }
    selector = {"matchLabels": {TASK: name_of(task.id)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": selector, "template": pod},
    }
