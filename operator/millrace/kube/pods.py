"""Parts of pods that every kind builds alike: security contexts, claims at one path, the push token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from millrace.kube import labels

Object = dict[str, Any]

CLAIMS_ROOT = "/millrace/claims"
TOKEN_FOLDER = "/var/run/secrets/millrace"
TOKEN_FILE = f"{TOKEN_FOLDER}/token"
AUDIENCE = "millrace"
USER = 65532
TMP_MOUNT = {"name": "tmp", "mountPath": "/tmp"}
SMALL = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
"""Resources of our own helpers beside the user's program."""


@dataclass(frozen=True)
class Mount:
    """A claim mounted whole, at one path in all pods of an object."""

    claim: str
    path: str
    read_only: bool = False


def claim_root(claim: str) -> str:
    """Where a claim is mounted unless a spec says otherwise."""
    return f"{CLAIMS_ROOT}/{claim}"


def under(root: str, path: str) -> str:
    """A path on a claim as a pod sees it."""
    cleaned = "/".join(part for part in path.split("/") if part not in {"", "."})
    return f"{root}/{cleaned}" if cleaned else root


def unique(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """One mount a claim; writable where any asks for it."""
    made: dict[str, Mount] = {}
    for mount in mounts:
        held = made.get(mount.claim)
        made[mount.claim] = mount if held is None or held.read_only else held
    return tuple(made.values())


def claim_volumes(mounts: Iterable[Mount]) -> list[Object]:
    """Volumes for mounts."""
    return [
        {"name": _volume_name(m.claim), "persistentVolumeClaim": {"claimName": m.claim, "readOnly": m.read_only}} for m in mounts
    ]


def claim_mounts(mounts: Iterable[Mount]) -> list[Object]:
    """Volume mounts for mounts."""
    return [{"name": _volume_name(m.claim), "mountPath": m.path, "readOnly": m.read_only} for m in mounts]


def _volume_name(claim: str) -> str:
    """A label of at most 63 characters, another one for another claim: `a.b` is not `a-b`."""
    name = f"claim-{claim}"
    if "." not in claim and len(name) <= 63:
        return name
    digest = hashlib.sha256(claim.encode()).hexdigest()[:8]
    return f"{name.replace('.', '-')[:54]}-{digest}"


def token_volume() -> Object:
    """The projected token with which a pod reports progress."""
    source = {"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 3600, "path": "token"}}
    return {"name": "millrace-token", "projected": {"sources": [source]}}


def token_mount() -> Object:
    """Where that token is."""
    return {"name": "millrace-token", "mountPath": TOKEN_FOLDER, "readOnly": True}


def scratch_volume(name: str = "tmp") -> Object:
    """An emptyDir."""
    return {"name": name, "emptyDir": {}}


def pod_security() -> Object:
    """What the Pod Security level `restricted` asks of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only_root: bool = True, add: Iterable[str] = ()) -> Object:
    """What `restricted` asks of a container; added capabilities leave that level and are the caller's decision."""
    capabilities: Object = {"drop": ["ALL"]}
    if added := list(add):
        capabilities["add"] = added
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only_root,
        "capabilities": capabilities,
    }


def env(values: dict[str, str]) -> list[Object]:
    """Environment variables, sorted by name so that the same spec makes the same pod."""
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def termination(pod: Object, container: str) -> Object | None:
    """The terminated state of a container (init containers too); None while it runs or where it never did."""
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for found in status.get(group) or ():
            if found["name"] == container:
                state = found.get("state") or {}
                ended = state.get("terminated") or (found.get("lastState") or {}).get("terminated")
                return dict(ended) if ended else None
    return None


_PASSING = frozenset({None, "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})


def waiting(pod: Object) -> Object | None:
    """The waiting state of the first container that waits for something to be mended (an image, a config).

    A sidecar between two of its starts is no such thing: it starts again by itself, and the pod runs on meanwhile.
    """
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for found in status.get(group) or ():
            state = (found.get("state") or {}).get("waiting") or {}
            if state.get("reason") not in _PASSING:
                return dict(state)
    return None


def obstacle(pod: Object, who: str) -> str | None:
    """What keeps a pod from starting, in one sentence about `who`; None where nothing does."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled["status"] == "False":
        return f"{who} is not scheduled: {scheduled.get('message')}"
    stuck = waiting(pod)
    return f"{who} cannot start: {stuck['reason']}: {stuck.get('message', '')}" if stuck else None


def last_words(ended: Object | None) -> Object | None:
    """The JSON object that a container left as its termination message; None where it left no such thing."""
    try:
        loaded = json.loads((ended or {}).get("message") or "")
    except ValueError:
        return None
    return loaded if isinstance(loaded, dict) else None


def report(ended: Object | None) -> Object | None:
    """Its last words where they are a report: they say whether it is `ok`."""
    told = last_words(ended)
    return told if told is not None and "ok" in told else None


def condition(obj: Object, type_: str) -> Object | None:
    """A condition of a pod, Job or Node, or None."""
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == type_), None)


def is_condition(obj: Object, type_: str) -> bool:
    """Whether that condition is True."""
    found = condition(obj, type_)
    return found is not None and found["status"] == "True"


def one_shot_job(
    owner: Object,
    name: str,
    role: str,
    container: Object,
    volumes: list[Object],
    *,
    service_account: str,
    pull_secrets: Iterable[str] = (),
) -> Object:
    """A Job of one restricted pod, tried again after disruptions and crashes but not after exit code 1: that is an answer."""
    marks = labels.child_labels(owner, role, 0)
    template: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    if secrets := [{"name": s} for s in pull_secrets]:
        template["imagePullSecrets"] = secrets
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": role, "operator": "In", "values": [1]}},
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(owner, name, marks),
        "spec": {
            "backoffLimit": 3,
            "podFailurePolicy": {"rules": rules},
            "template": {"metadata": {"labels": marks}, "spec": template},
        },
    }


def child_metadata(owner: Object, name: str, marks: dict[str, str]) -> Object:
    """Metadata of a child in its owner's namespace, with the controller reference."""
    return {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": marks,
        "ownerReferences": [labels.owner_reference(owner)],
    }


def failure(job: Object) -> str | None:
    """Why a Job failed; None where it has not."""
    if not is_condition(job, "Failed"):
        return None
    found = condition(job, "Failed") or {}
    return f"Job {job['metadata']['name']} failed: {found.get('message') or found.get('reason') or 'without a message'}"


SWEEP = "sweep"


def sweep_job(
    owner: Object, image: str, mounts: tuple[Mount, ...], paths: list[str], service_account: str, *, shared: bool = False
) -> Object:
    """The Job that deletes folders on claims (podside sweep); with `shared`, only those that no other object uses."""
    task = {"paths": paths, **({"owner": owner["metadata"]["uid"]} if shared else {})}
    container = helper(SWEEP, image, task, [*claim_mounts(mounts), TMP_MOUNT])
    volumes = [*claim_volumes(mounts), scratch_volume()]
    return one_shot_job(owner, labels.child_name(owner, SWEEP), SWEEP, container, volumes, service_account=service_account)


def helper(program: str, image: str, task: Object, mounts: list[Object]) -> Object:
    """A container that runs one of podside's programs, in the operator's image."""
    return {
        "name": program,
        "image": image,
        "command": ["python3", "-m", "millrace.podside", program],
        "env": env({"MILLRACE_TASK": json.dumps(task, sort_keys=True)}),
        "resources": SMALL,
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }


def role(child: Object) -> str:
    """What a child is for."""
    return str((child["metadata"].get("labels") or {}).get(labels.ROLE, ""))


def attempt_of(child: Object) -> int:
    """The attempt that a child belongs to; 0 for none."""
    return int((child["metadata"].get("labels") or {}).get(labels.ATTEMPT) or 0)
