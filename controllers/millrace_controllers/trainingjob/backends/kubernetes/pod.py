"""Builds what an attempt is made of: an Indexed Job, its headless Service, and the reader pod. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from millrace.api.v1alpha1.trainingjob import Checkpoint, KubernetesTraining, TrainingJobSpec
from millrace.engine.settings import Settings
from millrace.kube import labels, pods
from millrace_controllers.trainingjob.backends.kubernetes import layout, quantities
from millrace_controllers.trainingjob.backends.kubernetes.shape import Shape, shape
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]
Inputs = tuple[ResolvedInput, ...]

TRAIN, PREFLIGHT, TAIL, VERIFY = "train", "preflight", "tail", "verify"
MASTER_PORT = 29500
_WRAP = "/millrace/wrap"
_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_RANK = "MILLRACE_NODE_RANK"
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def attempt_name(owner: Object, attempt: int) -> str:
    """Name of an attempt's Job and Service: a function of uid and attempt alone."""
    return labels.child_name(owner, attempt)


def service(owner: Object, attempt: int) -> Object:
    """The headless Service that gives the ranks names before they are ready."""
    marks = labels.child_labels(owner, TRAIN, attempt)
    selector = {key: marks[key] for key in (labels.OWNER_UID, labels.ATTEMPT, labels.ROLE)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": pods.child_metadata(owner, attempt_name(owner, attempt), marks),
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector},
    }


def job(
    owner: Object, spec: TrainingJobSpec, attempt: int, inputs: Inputs, settings: Settings, avoid: tuple[str, ...] = ()
) -> Object:
    """An attempt's Job: all ranks or none, no pod is ever replaced within it."""
    kubernetes = spec.kubernetes or KubernetesTraining()
    marks = labels.child_labels(owner, TRAIN, attempt)
    identity = {key: marks[key] for key in (labels.OWNER_UID, labels.ATTEMPT, labels.ROLE)}
    form = shape(kubernetes, avoid_nodes=avoid, labels=identity)
    metadata = pods.child_metadata(owner, attempt_name(owner, attempt), marks)
    if kubernetes.queue_name:
        metadata["labels"] = {**marks, _QUEUE_LABEL: kubernetes.queue_name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": kubernetes.nodes,
            "parallelism": kubernetes.nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": {"metadata": {"labels": marks}, "spec": _pod(owner, spec, kubernetes, attempt, inputs, settings, form)},
        },
    }


def _pod(
    owner: Object,
    spec: TrainingJobSpec,
    kubernetes: KubernetesTraining,
    attempt: int,
    inputs: Inputs,
    settings: Settings,
    form: Shape,
) -> Object:
    environment = _environment(owner, spec, kubernetes, attempt, inputs, settings, form)
    wrapped = bool(spec.metrics and kubernetes.command)
    helpers = [_preflight(owner, spec, inputs, settings, wrapped)]
    if wrapped:
        helpers.append(_tail(spec, environment, settings))
    made: Object = {
        "restartPolicy": "Never",
        "subdomain": attempt_name(owner, attempt),
        "serviceAccountName": spec.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": kubernetes.termination_grace_period_seconds,
        "securityContext": pods.pod_security(),
        "initContainers": helpers,
        "containers": [_train(owner, spec, kubernetes, attempt, inputs, settings, form, environment, wrapped)],
        "volumes": _volumes(spec, inputs, form, wrapped),
    }
    _place(made, kubernetes, form)
    return made


def _place(pod: Object, kubernetes: KubernetesTraining, form: Shape) -> None:
    """Only what is set: an empty selector or affinity would be noise in `kubectl describe`."""
    if form.node_selector:
        pod["nodeSelector"] = form.node_selector
    if form.tolerations:
        pod["tolerations"] = list(form.tolerations)
    if form.affinity:
        pod["affinity"] = form.affinity
    if kubernetes.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s} for s in kubernetes.image_pull_secrets]


def _train(
    owner: Object,
    spec: TrainingJobSpec,
    kubernetes: KubernetesTraining,
    attempt: int,
    inputs: Inputs,
    settings: Settings,
    form: Shape,
    environment: list[Object],
    wrapped: bool,
) -> Object:
    container: Object = {
        "name": TRAIN,
        "image": kubernetes.image or settings.images.trainer,
        "imagePullPolicy": kubernetes.image_pull_policy,
        "env": environment,
        "resources": {"requests": form.requests, "limits": form.limits},
        "securityContext": pods.container_security(read_only_root=kubernetes.runtime is not None, add=form.capabilities),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*pods.claim_mounts(layout.mounts(spec, inputs)), *_own_mounts(wrapped)],
    }
    container.update(command(owner, kubernetes, attempt, form, wrapped))
    return container


def command(owner: Object, kubernetes: KubernetesTraining, attempt: int, form: Shape, wrapped: bool) -> Object:
    """`command` and `args` of the training container."""
    args = list(kubernetes.args or [])
    if kubernetes.runtime is not None:
        module = ["-m", "millrace_trainer.gpt"] if kubernetes.runtime == "nemo" else args
        return {"command": [*_torchrun(owner, kubernetes, attempt, form), *module]}
    if kubernetes.command is None:
        return {"args": args} if args else {}
    if wrapped:
        return {"command": ["sh", f"{_WRAP}/wrap.sh", _WRAP, *kubernetes.command, *args]}
    return {"command": list(kubernetes.command), **({"args": args} if args else {})}


def _torchrun(owner: Object, kubernetes: KubernetesTraining, attempt: int, form: Shape) -> list[str]:
    """No restarts inside the attempt: a failed rank ends it, and the next attempt starts from the committed checkpoint."""
    return [
        "torchrun",
        f"--nnodes={kubernetes.nodes}",
        f"--nproc-per-node={form.procs_per_node}",
        "--node-rank=$(MILLRACE_NODE_RANK)",
        f"--master-addr={_master(owner, kubernetes, attempt)}",
        f"--master-port={MASTER_PORT}",
        "--max-restarts=0",
    ]


def _master(owner: Object, kubernetes: KubernetesTraining, attempt: int) -> str:
    if kubernetes.nodes == 1:
        return "127.0.0.1"
    name = attempt_name(owner, attempt)
    return f"{name}-0.{name}.{owner['metadata']['namespace']}.svc"


def _environment(
    owner: Object,
    spec: TrainingJobSpec,
    kubernetes: KubernetesTraining,
    attempt: int,
    inputs: Inputs,
    settings: Settings,
    form: Shape,
) -> list[Object]:
    """The contract's variables, the fabric's, and the user's on top of the latter."""
    values = {
        "HOME": "/tmp",
        "OMP_NUM_THREADS": str(_threads(form)),
        # torchrun kills its ranks 30 s after SIGTERM unless it is told how long a checkpoint may take.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(max(1, kubernetes.termination_grace_period_seconds - 5)),
        **form.env,
        **{e.name: e.value for e in kubernetes.env or () if e.name != _RANK},
        **_contract(owner, spec, kubernetes, attempt, inputs, settings, form),
    }
    rank = {"name": _RANK, "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}
    return [rank, *pods.env(values)]


def _threads(form: Shape) -> int:
    """CPU threads per process: without a CPU limit every process would take all the cores of its node."""
    return max(1, math.ceil(quantities.millicores(form.requests["cpu"]) / 1000) // form.procs_per_node)


def _contract(
    owner: Object,
    spec: TrainingJobSpec,
    kubernetes: KubernetesTraining,
    attempt: int,
    inputs: Inputs,
    settings: Settings,
    form: Shape,
) -> dict[str, str]:
    run, saves = layout.run(owner, spec), spec.checkpoint or Checkpoint()
    told = {i.name: {"path": layout.input_path(spec, i), "format": i.format, "digest": i.digest} for i in inputs}
    variables = {
        "MILLRACE_JOB": run["name"],
        "MILLRACE_NAMESPACE": run["namespace"],
        "MILLRACE_UID": owner["metadata"]["uid"],
        "MILLRACE_ATTEMPT": str(attempt),
        "MILLRACE_RUN_ID": run["runID"],
        "MILLRACE_SPEC_DIGEST": run["specDigest"],
        "MILLRACE_NODES": str(kubernetes.nodes),
        "MILLRACE_PROCS_PER_NODE": str(form.procs_per_node),
        "MASTER_ADDR": _master(owner, kubernetes, attempt),
        "MASTER_PORT": str(MASTER_PORT),
        "WORLD_SIZE": str(kubernetes.nodes * form.procs_per_node),
        "MILLRACE_OUTPUT_DIR": layout.output(spec).directory,
        "MILLRACE_CHECKPOINT_DIR": layout.checkpoints(spec).directory,
        "MILLRACE_CHECKPOINT_EVERY_STEPS": str(saves.every_steps),
        "MILLRACE_CHECKPOINT_KEEP": str(saves.keep),
        "MILLRACE_INPUTS": json.dumps(told, sort_keys=True),
        "MILLRACE_PARAMETERS": json.dumps(spec.parameters or {}, sort_keys=True),
        "MILLRACE_TOKEN_FILE": pods.TOKEN_FILE,
        "MILLRACE_GRACE_SECONDS": str(kubernetes.termination_grace_period_seconds),
    }
    if settings.progress_url:
        variables["MILLRACE_PROGRESS_URL"] = settings.progress_url
    return variables


def _preflight(owner: Object, spec: TrainingJobSpec, inputs: Inputs, settings: Settings, wrapped: bool) -> Object:
    task = {
        "outputDir": layout.output(spec).directory,
        "checkpointDir": layout.checkpoints(spec).directory,
        "inputs": {i.name: layout.input_path(spec, i) for i in inputs},
        "wrapperDir": _WRAP if wrapped else None,
        "run": layout.run(owner, spec),
    }
    return pods.helper(
        PREFLIGHT, settings.images.operator, task, [*pods.claim_mounts(layout.mounts(spec, inputs)), *_own_mounts(wrapped)]
    )


def _tail(spec: TrainingJobSpec, environment: list[Object], settings: Settings) -> Object:
    """A sidecar of the native kind: it ends with the program, and does not keep the Job from completing."""
    metrics = [m.model_dump(mode="json", include={"name", "regex"}) for m in spec.metrics or ()]
    made = pods.helper(TAIL, settings.images.operator, {"log": f"{_WRAP}/log", "metrics": metrics}, _own_mounts(True))
    told = [e for e in environment if e["name"].startswith("MILLRACE_")]
    return {**made, "env": [*made["env"], *told], "restartPolicy": "Always"}


def _own_mounts(wrapped: bool) -> list[Object]:
    wrap = [{"name": "wrap", "mountPath": _WRAP}] if wrapped else []
    return [pods.token_mount(), pods.TMP_MOUNT, {"name": "shm", "mountPath": "/dev/shm"}, *wrap]


def _volumes(spec: TrainingJobSpec, inputs: Inputs, form: Shape, wrapped: bool) -> list[Object]:
    shared = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": form.shared_memory}}
    own = [pods.token_volume(), pods.scratch_volume(), shared]
    return [*pods.claim_volumes(layout.mounts(spec, inputs)), *own, *([pods.scratch_volume("wrap")] if wrapped else [])]


def verifier(owner: Object, spec: TrainingJobSpec, attempt: int, settings: Settings) -> Object:
    """The reader pod. Claims are read-only but where the record of a program that knows nothing of records is to be written."""
    kubernetes = spec.kubernetes or KubernetesTraining()
    own = kubernetes.runtime == "nemo"
    places = {p.claim: pods.Mount(p.claim, layout.root(spec, p.claim), read_only=own) for p in _read(spec)}
    task = {
        "outputDir": layout.output(spec).directory,
        "checkpointDir": layout.checkpoints(spec).directory,
        "ownRuntime": own,
        "run": layout.run(owner, spec),
        "uid": owner["metadata"]["uid"],
        "attempt": attempt,
    }
    mounts = tuple(places.values())
    container = pods.helper(VERIFY, settings.images.operator, task, [*pods.claim_mounts(mounts), pods.TMP_MOUNT])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pods.child_metadata(owner, verifier_name(owner, attempt), labels.child_labels(owner, VERIFY, attempt)),
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": spec.service_account_name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pods.pod_security(),
            "containers": [container],
            "volumes": [*pods.claim_volumes(mounts), pods.scratch_volume()],
        },
    }


def verifier_name(owner: Object, attempt: int) -> str:
    """Name of an attempt's reader pod."""
    return labels.child_name(owner, attempt, VERIFY)


def _read(spec: TrainingJobSpec) -> tuple[layout.Place, layout.Place]:
    return layout.output(spec), layout.checkpoints(spec)


def made_claims(owner: Object, spec: TrainingJobSpec) -> list[Object]:
    """Claims that the spec asks for. They carry no owner reference: data outlives the object unless its policy says otherwise."""
    marks = labels.child_labels(owner, "volume")
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": v.claim, "namespace": owner["metadata"]["namespace"], "labels": marks},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": v.storage_class_name,
                "resources": {"requests": {"storage": f"{v.size_gib}Gi"}},
            },
        }
        for v in layout.volumes(spec)
        if v.storage_class_name
    ]
