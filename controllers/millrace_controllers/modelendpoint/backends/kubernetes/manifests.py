"""Builds what an endpoint is made of: a Deployment, a Service and a PodDisruptionBudget. Pure."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from millrace.api.common import GROUP
from millrace.api.pods import PodPlacement, PodResources
from millrace.api.v1alpha1.modelendpoint import KubernetesServing, ModelEndpointSpec, ProbeExpectation
from millrace.engine.settings import Settings
from millrace.kube import labels, pods
from millrace_controllers.modelendpoint.observed import Target

Object = dict[str, Any]

SERVE, MODEL, GOLDEN = "serve", "model", "golden"
REVISION = f"{GROUP}/revision"
_READY_PATHS = {"OpenAI": "/health", "V2": "/v2/health/ready"}
_GATE_PORTS = (8099, 8098)
_POLL_SECONDS = 2


def name(owner: Object) -> str:
    """Name of the Deployment and the disruption budget; the Service has the object's own."""
    return labels.child_name(owner)


def everything(owner: Object, spec: ModelEndpointSpec, target: Target, settings: Settings) -> list[Object]:
    """All children, the Deployment last."""
    return [service(owner, spec), budget(owner), deployment(owner, spec, target, settings)]


def url(owner: Object, spec: ModelEndpointSpec) -> str:
    """Where the endpoint answers within the cluster."""
    return f"http://{owner['metadata']['name']}.{owner['metadata']['namespace']}.svc:{_serving(spec).port}"


def service(owner: Object, spec: ModelEndpointSpec) -> Object:
    """The Service that users and gateways talk to."""
    metadata = pods.child_metadata(owner, owner["metadata"]["name"], labels.child_labels(owner, SERVE))
    port = {"name": "http", "port": _serving(spec).port, "targetPort": "http", "appProtocol": "http"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": _identity(owner), "ports": [port]}}


def budget(owner: Object) -> Object:
    """Drains take one pod at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": pods.child_metadata(owner, name(owner), labels.child_labels(owner, SERVE)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _identity(owner)}},
    }


def deployment(owner: Object, spec: ModelEndpointSpec, target: Target, settings: Settings) -> Object:
    """The pods: a new one must be ready before an old one goes."""
    marks = {**labels.child_labels(owner, SERVE), REVISION: target.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": pods.child_metadata(owner, name(owner), marks),
        "spec": {
            "replicas": replicas(spec),
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": _identity(owner)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {**marks, labels.ATTEMPT: "0"}}, "spec": _pod(owner, spec, target, settings)},
        },
    }


def replicas(spec: ModelEndpointSpec) -> int:
    """Pods that are wanted: none while suspended."""
    return 0 if spec.suspend else _serving(spec).replicas


def _serving(spec: ModelEndpointSpec) -> KubernetesServing:
    return spec.kubernetes or KubernetesServing()


def _identity(owner: Object) -> dict[str, str]:
    marks = labels.child_labels(owner, SERVE)
    return {key: marks[key] for key in (labels.OWNER_UID, labels.ROLE)}


def _pod(owner: Object, spec: ModelEndpointSpec, target: Target, settings: Settings) -> Object:
    serving = _serving(spec)
    mounts = _mounts(target.uri)
    helpers = [_reader(target, settings, mounts)] if mounts else []
    asked = golden_task(owner, spec)
    told = _tell(owner, target, settings) if asked else {}
    if asked is not None:
        helpers.append(_golden({**asked, **told}, settings))
    made: Object = {
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.pod_security(),
        "terminationGracePeriodSeconds": serving.termination_grace_period_seconds,
        "topologySpreadConstraints": [_spread(owner)],
        "initContainers": helpers,
        "containers": [_server(owner, spec, target, settings, mounts)],
        "volumes": [
            *pods.claim_volumes(mounts),
            pods.scratch_volume(),
            *_shared_memory(serving),
            *([pods.token_volume()] if told else []),
        ],
    }
    if secrets := [{"name": s} for s in serving.image_pull_secrets or ()]:
        made["imagePullSecrets"] = secrets
    return {**made, **_placement(serving.placement)}


def _spread(owner: Object) -> Object:
    """On different nodes where there are some, so that one drain does not take all."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _identity(owner)},
    }


def _placement(placement: PodPlacement | None) -> Object:
    if placement is None:
        return {}
    tolerations = [t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in placement.tolerations or ()]
    chosen = {"nodeSelector": placement.node_selector, "tolerations": tolerations}
    return {key: value for key, value in chosen.items() if value}


def _server(owner: Object, spec: ModelEndpointSpec, target: Target, settings: Settings, mounts: tuple[pods.Mount, ...]) -> Object:
    serving = _serving(spec)
    own = serving.image is None
    variables = {**_contract(owner, serving, target), **{e.name: e.value for e in serving.env or ()}}
    made: Object = {
        "name": SERVE,
        "image": serving.image or settings.images.trainer,
        "imagePullPolicy": serving.image_pull_policy,
        "env": pods.env(variables),
        "ports": [{"name": "http", "containerPort": serving.port}],
        "resources": _resources(serving.resources or PodResources()),
        "securityContext": pods.container_security(read_only_root=own),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*pods.claim_mounts(mounts), pods.TMP_MOUNT, *_shared_memory_mount(serving)],
        **_probes(serving),
    }
    command = ["python", "-m", "millrace_serve"] if own else serving.command
    told = {"command": command, "args": serving.args, "lifecycle": None if own else _pre_stop(serving)}
    return {**made, **{key: value for key, value in told.items() if value}}


def _contract(owner: Object, serving: KubernetesServing, target: Target) -> dict[str, str]:
    """What every server is told (docs/serve-contract.md)."""
    return {
        "MILLRACE_MODEL_DIR": model_folder(target.uri),
        "MILLRACE_MODEL_NAME": owner["metadata"]["name"],
        "MILLRACE_MODEL_DIGEST": target.digest or "",
        "MILLRACE_PORT": str(serving.port),
        "MILLRACE_SERVE_PARAMETERS": json.dumps(serving.parameters or {}, sort_keys=True),
        "MILLRACE_DRAIN_SECONDS": str(serving.drain_seconds),
        "MILLRACE_GRACE_SECONDS": str(serving.termination_grace_period_seconds),
    }


def _pre_stop(serving: KubernetesServing) -> Object | None:
    """Our server drains by itself; one that knows nothing of it is told to stop only when nobody sends it requests any more."""
    return {"preStop": {"sleep": {"seconds": serving.drain_seconds}}} if serving.drain_seconds else None


def ready_path(serving: KubernetesServing) -> str:
    """Where a server says that its model is loaded."""
    if serving.image is None:
        return "/ready"
    return serving.ready_path or _READY_PATHS[serving.protocol]


def _probes(serving: KubernetesServing) -> Object:
    asked = {"httpGet": {"path": ready_path(serving), "port": "http"}, "periodSeconds": _POLL_SECONDS, "timeoutSeconds": 5}
    made: Object = {
        "startupProbe": {**asked, "failureThreshold": max(1, serving.start_seconds // _POLL_SECONDS)},
        "readinessProbe": {**asked, "failureThreshold": 2},
    }
    if serving.image is None:
        alive = {"path": "/health", "port": "http"}
        made["livenessProbe"] = {"httpGet": alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6}
    return made


def _resources(wanted: PodResources) -> Object:
    requests = {"cpu": wanted.cpu, "memory": wanted.memory}
    gpus = {"nvidia.com/gpu": str(wanted.gpus)} if wanted.gpus else {}
    return {"requests": {**requests, **gpus}, "limits": {"memory": wanted.memory, **gpus}}


def _shared_memory(serving: KubernetesServing) -> list[Object]:
    """Servers that spread a model over several GPUs exchange through it."""
    several = serving.resources is not None and serving.resources.gpus > 1
    return [{"name": "shm", "emptyDir": {"medium": "Memory"}}] if several else []


def _shared_memory_mount(serving: KubernetesServing) -> list[Object]:
    return [{"name": "shm", "mountPath": "/dev/shm"}] if _shared_memory(serving) else []


# -- the model -------------------------------------------------------------------------------------------------------


def _mounts(uri: str) -> tuple[pods.Mount, ...]:
    """The claim of a model on one, read-only."""
    parts = urlsplit(uri)
    return (pods.Mount(parts.netloc, pods.claim_root(parts.netloc), read_only=True),) if parts.scheme == "claim" else ()


def model_folder(uri: str) -> str:
    """Where the server finds the model."""
    parts = urlsplit(uri)
    return pods.under(pods.claim_root(parts.netloc), parts.path) if parts.scheme == "claim" else parts.path


def _reader(target: Target, settings: Settings, mounts: tuple[pods.Mount, ...]) -> Object:
    task = {"path": model_folder(target.uri), "digest": target.digest}
    return pods.helper(MODEL, settings.images.operator, task, [*pods.claim_mounts(mounts), pods.TMP_MOUNT])


# -- the golden request ----------------------------------------------------------------------------------------------


def golden_task(owner: Object, spec: ModelEndpointSpec) -> Object | None:
    """The sidecar's task; None where nothing is known that could be asked."""
    serving = _serving(spec)
    request = _request(owner, spec)
    if request is None:
        return None
    expect = (spec.probe.expect if spec.probe else None) or ProbeExpectation()
    return {
        "port": serving.port,
        "gatePort": next(p for p in _GATE_PORTS if p != serving.port),
        "readyPath": ready_path(serving),
        "request": request,
        "expect": expect.model_dump(mode="json"),
        "timeoutSeconds": spec.probe.timeout_seconds if spec.probe else 30,
    }


def _request(owner: Object, spec: ModelEndpointSpec) -> Object | None:
    serving = _serving(spec)
    if spec.probe is None:
        return _default_request(owner, serving)
    asked = spec.probe.request.model_dump(mode="json")
    if serving.image is None and asked["body"] is not None:
        asked["body"] = {"model": owner["metadata"]["name"], **asked["body"]}
    return asked


def _default_request(owner: Object, serving: KubernetesServing) -> Object | None:
    """A server that is not ours has its own names for models: what it lists is all that can be asked."""
    if serving.protocol != "OpenAI":
        return None
    if serving.image is not None:
        return {"method": "GET", "path": "/v1/models", "body": None}
    body = {"model": owner["metadata"]["name"], "prompt": "Hello", "max_tokens": 1}
    return {"method": "POST", "path": "/v1/completions", "body": body}


def _tell(owner: Object, target: Target, settings: Settings) -> Object:
    """Where the sidecar tells what the answer took; nowhere without a door for pushes."""
    if not settings.progress_url:
        return {}
    who = {"uid": owner["metadata"]["uid"], "revision": target.revision}
    return {"tell": {"url": settings.progress_url, "tokenFile": pods.TOKEN_FILE, **who}}


def _golden(task: Object, settings: Settings) -> Object:
    """A native sidecar: it starts before the server, counts for the pod's readiness, and ends after it."""
    gate = {"httpGet": {"path": "/", "port": task["gatePort"]}, "periodSeconds": _POLL_SECONDS, "failureThreshold": 1}
    token = [pods.token_mount()] if "tell" in task else []
    return {
        **pods.helper(GOLDEN, settings.images.operator, task, [pods.TMP_MOUNT, *token]),
        "restartPolicy": "Always",
        "readinessProbe": gate,
    }
