"""TrainingJob: one bounded run that makes a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import (
    ClaimName,
    ClaimPath,
    CloudSpec,
    CommonStatus,
    Cost,
    Decimal,
    Image,
    KmsKeyID,
    Model,
    Name,
    ObjectReference,
    S3Uri,
    cel,
    exactly_one,
    same_member,
)
from millrace.api.pods import EnvVar, PodPlacement, PodResources, PullPolicy
from millrace.api.resource import AGE, Column, Kind, summary_columns
from millrace.api.sagemaker import InstanceTypes, JumpStartModel, Licence, PassedOver, Vpc

MEMBERS = ("kubernetes", "sageMaker")
ALGORITHMS = ("image", "script", "algorithmARN", "jumpStart")
IMMUTABLE_IN_RUN = ("inputs", "output", "parameters", "metrics", "checkpoint", "accountRef", *MEMBERS)
RunID = Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*$")]
_STARTED = "has(oldSelf.status) && has(oldSelf.status.attempt)"
_ENDED = "has(oldSelf.status) && has(oldSelf.status.completionTime)"


class TrainingInput(Model):
    """An input of the run."""

    model_config = {
        "json_schema_extra": cel(
            exactly_one("datasetRef", "claim", "uri"),
            ("!has(self.split) || has(self.datasetRef)", "`split` needs `datasetRef`"),
        )
    }

    name: Name = Field(description="Name under which the program finds the input; our runtimes read train and validation.")
    dataset_ref: ObjectReference | None = Field(default=None, description="A Dataset of the same namespace.")
    claim: ClaimPath | None = Field(default=None, description="A file or folder on a claim, used as it is.")
    uri: S3Uri | None = Field(default=None, description="An object or prefix in S3; for `sageMaker`.")
    split: Literal["train", "validation", "test"] | None = Field(default=None, description="Part of the Dataset to read.")


class Output(Model):
    """Where the results go."""

    model_config = {"json_schema_extra": cel(exactly_one("claim", "uri"))}

    claim: ClaimPath | None = Field(default=None, description="Folder on a claim; holds the model, the logs and the run record.")
    uri: S3Uri | None = Field(
        default=None, description="Prefix in S3, for `sageMaker`; holds models, checkpoints and run record."
    )


class MetricSpec(Model):
    """A metric read from the program's standard output (images of your own)."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = Field(
        description="Name in status.metrics."
    )
    regex: str = Field(min_length=1, max_length=512, description="Python regular expression; its first group is the number.")
    goal: Literal["Minimize", "Maximize"] = Field(default="Minimize", description="Which way is better.")


class Checkpoint(Model):
    """How often progress is made safe, and where."""

    every_steps: int = Field(default=1000, ge=1, description="Steps between checkpoints.")
    keep: int = Field(default=3, ge=1, le=100, description="Committed checkpoints to keep.")
    claim: ClaimPath | None = Field(default=None, description="Where they go; `checkpoints` in the output by default.")


class Limits(Model):
    """Bounds of the whole run."""

    max_runtime_seconds: int | None = Field(
        default=None, ge=1, description="Running time summed over attempts; waiting and suspension do not count."
    )
    max_cost_usd: Decimal | None = Field(
        default=None, alias="maxCostUSD", description="US dollars that the run may cost by the operator's price table."
    )
    max_restarts: int = Field(default=3, ge=0, le=1000, description="Counted restarts; disruptions are not counted.")


class Resources(PodResources):
    """Resources of one pod, by hand; what `instanceType` would say is not asked then."""

    efa: int = Field(default=0, ge=0, le=64, description="vpc.amazonaws.com/efa per pod.")


class Fabric(Model):
    """The network between the pods."""

    efa: Literal["DevicePlugin", "None"] = Field(
        default="DevicePlugin", description="How EFA devices are asked for; None uses the pod network alone."
    )


class CapacityBlock(Model):
    """Capacity that ends at a known time."""

    end_time: str = Field(
        json_schema_extra={"format": "date-time"},
        description="When the capacity ends; the run is checkpointed and stopped 45 minutes before.",
    )


class Placement(PodPlacement):
    """Where the pods may run, and how close together."""

    same_zone: bool = Field(default=True, description="All pods in one availability zone.")
    same_rack: Literal["Preferred", "Required"] | None = Field(
        default=None, description="All pods under one network node (topology.k8s.aws/network-node-layer-3)."
    )
    capacity_block: CapacityBlock | None = Field(default=None, description="A capacity block that the run must end before.")


class Volume(Model):
    """A claim that every pod of the run mounts whole, at one path."""

    model_config = {
        "json_schema_extra": cel(
            (
                "has(self.storageClassName) == has(self.sizeGiB)",
                "`storageClassName` and `sizeGiB` go together: with them the claim is made, without them it must exist",
            )
        )
    }

    claim: ClaimName = Field(description="Name of the PersistentVolumeClaim.")
    mount_path: str | None = Field(
        default=None,
        max_length=512,
        pattern=r"^/[^:]*$",
        description="Where it is mounted; /millrace/claims/<claim> by default.",
    )
    storage_class_name: ClaimName | None = Field(default=None, description="Make the claim with this storage class.")
    size_gib: int | None = Field(default=None, alias="sizeGiB", ge=1, le=1_000_000, description="Size of the claim to make, GiB.")


class Faults(Model):
    """What counts as a fault and what follows."""

    detect: list[Literal["NodeCondition", "Heartbeat", "Hang", "NaN"]] = Field(
        default=["NodeCondition", "Heartbeat", "Hang", "NaN"], max_length=4, description="Faults that are looked for."
    )
    heartbeat_seconds: int = Field(default=300, ge=10, description="Silence of a training rank that counts as a fault.")
    hang_seconds: int = Field(default=600, ge=10, description="Time without a new step that counts as a fault.")
    avoid_bad_nodes: bool = Field(default=True, description="Keep later attempts off nodes that failed.")


class KubernetesTraining(Model):
    """The run as pods of this cluster."""

    model_config = {
        "json_schema_extra": cel(
            (
                "has(self.image) || has(self.runtime)",
                "`image` or `runtime` must be set: your own image, or one of our runtimes torchrun and nemo",
            ),
            (
                "!has(self.runtime) || !has(self.command)",
                "`command` may not be set with `runtime`: the runtime is the command",
            ),
            (
                "!has(self.runtime) || self.runtime != 'torchrun' || (has(self.args) && size(self.args) > 0)",
                "`args` must name the script (or -m module) for runtime torchrun",
            ),
            (
                "!has(self.runtime) || self.runtime != 'nemo' || !has(self.args)",
                "`args` may not be set with runtime nemo: use `parameters`",
            ),
            (
                "!(has(self.instanceType) && has(self.resources))",
                "`instanceType` and `resources` may not both be set: the instance type says the resources",
            ),
        )
    }

    runtime: Literal["torchrun", "nemo"] | None = Field(default=None, description="One of our entry points (images/trainer).")
    image: Image | None = Field(default=None, description="Image; the operator's trainer image by default with `runtime`.")
    image_pull_policy: PullPolicy = Field(default="IfNotPresent", description="As in a pod.")
    image_pull_secrets: list[ClaimName] | None = Field(default=None, max_length=8, description="Secrets to pull with.")
    command: list[str] | None = Field(default=None, min_length=1, max_length=64, description="Entry point of your image.")
    args: list[str] | None = Field(default=None, max_length=256, description="Arguments.")
    env: list[EnvVar] | None = Field(default=None, max_length=128, description="Environment, added to the contract's.")
    nodes: int = Field(default=1, ge=1, le=4096, description="Pods, one a node when a whole instance is asked for; all or none.")
    procs_per_node: int | None = Field(
        default=None, ge=1, le=128, description="Processes per pod; the number of GPUs by default, at least one."
    )
    instance_type: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$", max_length=64)] | None = Field(
        default=None,
        description="EC2 instance type: decides GPUs, EFA devices, CPU, memory and shared memory of a pod.",
    )
    resources: Resources | None = Field(default=None, description="Resources of a pod by hand.")
    shared_memory_gib: int | None = Field(
        default=None,
        alias="sharedMemoryGiB",
        ge=1,
        le=4096,
        description="/dev/shm, GiB; counted into the memory limit.",
    )
    fabric: Fabric | None = Field(default=None, description="The network between the pods.")
    placement: Placement | None = Field(default=None, description="Where the pods may run.")
    volumes: list[Volume] | None = Field(default=None, max_length=16, description="Further claims, and claims to make.")
    queue_name: Name | None = Field(default=None, description="Kueue LocalQueue that admits the run.")
    gang_timeout_seconds: int = Field(
        default=600,
        ge=5,
        description="An attempt not fully scheduled within this time is taken down and tried again later.",
    )
    termination_grace_period_seconds: int = Field(
        default=120,
        ge=1,
        le=3600,
        description="Time between SIGTERM and SIGKILL: at least twice what a checkpoint takes.",
    )
    faults: Faults | None = Field(default=None, description="What counts as a fault and what follows.")


ARN = Annotated[str, Field(max_length=2048, pattern=r"^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12}|aws)?:[^\s]+$")]
Argument = Annotated[str, Field(max_length=256)]


class Script(Model):
    """A script that one of the framework images runs (the sagemaker-training toolkit's contract)."""

    image: Image = Field(description="Image of the framework, with the toolkit in it.")
    source: S3Uri = Field(description="Archive (tar.gz) of the script and what it imports.")
    entry_point: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\s/][^\s]*$")] = Field(
        description="File in the archive that is run."
    )


class Algorithm(Model):
    """What is run; exactly one member is set."""

    model_config = {
        "json_schema_extra": cel(
            exactly_one(*ALGORITHMS),
            ("!has(self.command) || has(self.image)", "`command` needs `image`"),
            (
                "!has(self.jumpStart) || has(self.jumpStart.version)",
                "`jumpStart.version` must be set: every attempt tunes the same model",
            ),
            ("!has(self.args) || has(self.image)", "`args` needs `image`: scripts and algorithms are told by `parameters`"),
            ("!has(self.productPage) || has(self.algorithmARN)", "`productPage` goes with `algorithmARN`: what is subscribed to"),
        )
    }

    image: Image | None = Field(default=None, description="An image in ECR that keeps SageMaker's training container contract.")
    command: list[Argument] | None = Field(default=None, min_length=1, max_length=100, description="Entry point of the image.")
    args: list[Argument] | None = Field(default=None, max_length=100, description="Arguments.")
    script: Script | None = Field(default=None, description="A script that a framework image runs.")
    algorithm_arn: ARN | None = Field(
        default=None, alias="algorithmARN", description="An algorithm of the account, or of the Marketplace once subscribed to."
    )
    product_page: str | None = Field(
        default=None,
        max_length=1024,
        pattern=r"^https://[^\s]+$",
        description="Page of the product on AWS Marketplace, which no API tells: shown where it must be subscribed to first.",
    )
    jump_start: JumpStartModel | None = Field(
        default=None, description="A model of SageMaker's public hub to tune, where its card says how."
    )


class Spot(Model):
    """Spare capacity: cheaper, may be taken away; SageMaker starts the job again from its checkpoints."""

    max_wait_seconds: int = Field(
        default=86400, ge=1, le=2419200, description="Time to wait for capacity in all, beside the running time."
    )


class SageMakerTraining(Model):
    """The run as SageMaker training jobs, one an attempt."""

    algorithm: Algorithm = Field(description="What is run.")
    role_arn: ARN = Field(
        alias="roleARN", description="Execution role that SageMaker assumes; the account's role must be allowed to pass it."
    )
    instance_types: InstanceTypes = Field(description="Each attempt runs on the first one that there is quota and capacity for.")
    instance_count: int = Field(default=1, ge=1, le=1000, description="Instances of an attempt.")
    volume_gib: int = Field(default=30, alias="volumeGiB", ge=1, le=16384, description="Volume of each instance, GiB.")
    spot: Spot | None = Field(default=None, description="Use spare capacity; checkpoints go below the output.")
    vpc: Vpc | None = Field(default=None, description="The network that the instances are in.")
    kms_key_id: KmsKeyID | None = Field(
        default=None, alias="kmsKeyID", description="Key that volumes and results are encrypted with."
    )
    encrypt_traffic: bool = Field(default=False, description="Encrypt what instances send to each other.")
    network_isolation: bool = Field(default=False, description="Let the container reach nothing; some algorithms require it.")
    env: dict[str, Annotated[str, Field(max_length=512)]] | None = Field(default=None, max_length=100, description="Environment.")


def _same(field: str) -> str:
    """CEL: the optional spec field is what it was."""
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    return f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"


def _run_rules() -> tuple[tuple[str, str], ...]:
    """From its start on a run is what it is; only after its end may `runID` change, and with it what the next run does."""
    new_run = f"({_ENDED}) && !({_same('runID')})"
    rules = [
        (
            f"!({_STARTED}) || ({_same(field)}) || ({new_run})",
            f"spec.{field} may not change once the run has started: wait for its end and set a new spec.runID",
        )
        for field in IMMUTABLE_IN_RUN
    ]
    ended_first = "spec.runID may not change while the run is under way: wait for its end, or delete the object"
    return (*rules, (f"!({_STARTED}) || ({_ENDED}) || ({_same('runID')})", ended_first))


class TrainingJobSpec(CloudSpec):
    """Desired run."""

    model_config = {
        "json_schema_extra": cel(
            exactly_one(*MEMBERS),
            same_member(*MEMBERS),
            (
                "has(self.kubernetes) == has(self.output.claim)",
                "`output.claim` goes with `kubernetes`, `output.uri` with `sageMaker`",
            ),
            (
                "!has(self.inputs) || self.inputs.all(i, has(i.datasetRef) || has(i.uri) == has(self.sageMaker))",
                "`inputs[].uri` goes with `sageMaker`, `inputs[].claim` with `kubernetes`",
            ),
            (
                "!has(self.checkpoint) || has(self.kubernetes)",
                "`checkpoint` needs `kubernetes`: SageMaker's go below the output with `spot`",
            ),
            (
                "!has(self.limits) || !has(self.limits.maxCostUSD) || has(self.sageMaker)",
                "`limits.maxCostUSD` needs `sageMaker`: what pods cost is not known",
            ),
            (
                "!has(self.metrics) || !has(self.sageMaker) || "
                "!(has(self.sageMaker.algorithm.algorithmARN) || has(self.sageMaker.algorithm.jumpStart))",
                "`metrics` may not be set with `sageMaker.algorithm.algorithmARN` or `jumpStart`: they say their own",
            ),
            (
                "!has(self.metrics) || !has(self.kubernetes) || has(self.kubernetes.command)",
                "`metrics` needs `kubernetes.command`: they are read from its output; our runtimes report theirs themselves",
            ),
        )
    }

    run_id: RunID | None = Field(
        default=None, alias="runID", description="Names the run; a new value is a new run of the same object."
    )
    inputs: list[TrainingInput] | None = Field(
        default=None,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="What the run reads.",
    )
    output: Output = Field(description="Where the results go.")
    parameters: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None, max_length=128, description="Hyperparameters, as strings."
    )
    metrics: list[MetricSpec] | None = Field(
        default=None,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description="Metrics read from standard output; needs `kubernetes.command`. Our runtimes report theirs themselves.",
    )
    checkpoint: Checkpoint | None = Field(default=None, description="How often progress is made safe, and where.")
    limits: Limits | None = Field(default=None, description="Bounds of the whole run.")
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        description="Delete the ended pods (and their logs) this long after the end; the object itself stays.",
    )
    kubernetes: KubernetesTraining | None = Field(default=None, description="Run as pods of this cluster.")
    sage_maker: SageMakerTraining | None = Field(default=None, description="Run as SageMaker training jobs.")


class Progress(Model):
    """How far the run is."""

    step: int = Field(default=0, description="Last step reported.")
    max_steps: int | None = Field(default=None, description="Steps in all.")
    percent: int | None = Field(default=None, description="Share done.")
    eta_seconds: int | None = Field(default=None, description="Estimated seconds left, rounded.")
    heartbeat_age: str | None = Field(default=None, description="Age bucket of the newest report: <30s, <2m, <10m or >=10m.")
    phase: str | None = Field(default=None, description="What the program says it does.")
    tokens_per_second: int | None = Field(default=None, description="Throughput of the whole run.")


class Metric(Model):
    """One metric's latest value."""

    name: str = Field(description="Name.")
    value: str = Field(description="Latest value, as a decimal string.")
    step: int | None = Field(default=None, description="Step it belongs to.")


class CheckpointStatus(Model):
    """The last committed checkpoint."""

    step: int = Field(description="Its step.")
    uri: str = Field(description="Where it is: claim://<claim>/<path>.")
    committed_at: str = Field(description="When it was committed.")
    attempt: int | None = Field(default=None, description="Attempt that wrote it.")


class ModelStatus(Model):
    """The model that the run made, as read back."""

    uri: str = Field(description="Where it is: claim://<claim>/<path>.")
    digest: str = Field(description="Tree digest of its files.")
    bytes: int | None = Field(default=None, description="Bytes of its files.")
    files: int | None = Field(default=None, description="Number of its files.")


class DatasetLineage(Model):
    """An input as it was used."""

    name: str = Field(description="Name of the input.")
    dataset: str | None = Field(default=None, description="Dataset it came from.")
    digest: str | None = Field(default=None, description="Digest of the Dataset's content.")
    path: str = Field(description="claim://<claim>/<path> that was read.")


class Lineage(Model):
    """What the model was made from."""

    inputs: list[DatasetLineage] | None = Field(default=None, description="Inputs as they were used.")
    base_model: str | None = Field(default=None, description="The hub's model that was tuned: jumpstart://MODEL/VERSION.")
    image_digest: str | None = Field(default=None, description="Digest of the image that ran.")
    parameters_digest: str | None = Field(default=None, description="Digest of spec.parameters.")
    spec_digest: str | None = Field(default=None, description="Digest of what the run does.")


class Restarts(Model):
    """How often the group was started again."""

    count: int = Field(default=0, description="Restarts that count against limits.maxRestarts.")
    uncounted: int = Field(default=0, description="Restarts after disruptions and failed scheduling, which do not count.")
    last_cause: str | None = Field(default=None, description="Why it was last started again.")
    recovery_seconds: int | None = Field(default=None, description="From the last fault to the next training step.")
    last_fault_time: str | None = Field(default=None, description="When the last fault was seen.")


class Usage(Model):
    """What one instance type is billed for."""

    instance_type: str = Field(description="The instance type.")
    seconds: int = Field(description="Billable seconds of each instance, over the attempts on it that ended.")


class TrainingJobStatus(CommonStatus):
    """What the run did."""

    run_id: str | None = Field(default=None, alias="runID", description="The run that this status is about.")
    attempt: int | None = Field(default=None, description="Number of the attempt, from 1, never reused.")
    ended_attempt: int | None = Field(default=None, description="Number of the last attempt that is over.")
    progress: Progress | None = Field(default=None, description="How far the run is.")
    metrics: list[Metric] | None = Field(default=None, description="Latest values.")
    checkpoint: CheckpointStatus | None = Field(default=None, description="The last committed checkpoint.")
    model: ModelStatus | None = Field(default=None, description="The model, as read back.")
    lineage: Lineage | None = Field(default=None, description="What the model was made from.")
    nodes_avoided: list[str] | None = Field(default=None, max_length=256, description="Nodes that later attempts keep off.")
    restarts: Restarts | None = Field(default=None, description="How often the group was started again.")
    running_seconds: int | None = Field(default=None, description="Running time of the attempts that ended.")
    attempt_start_time: str | None = Field(default=None, description="When all pods of the current attempt ran.")
    licence: Licence | None = Field(default=None, description="The licence that was accepted, of a gated model of the hub.")
    instance_type: str | None = Field(default=None, description="Instance type of the newest attempt; for members on AWS.")
    passed_over: list[PassedOver] | None = Field(
        default=None, max_length=8, description="Instance types that had no capacity; they are tried again after the others."
    )
    usage: list[Usage] | None = Field(
        default=None, max_length=16, description="Billable time of attempts that ended, by instance type: what the cost is of."
    )
    cost: Cost | None = Field(default=None, description="What it costs; for members on AWS.")
    retry_after: str | None = Field(default=None, description="Not before this time is the next attempt made.")


KIND = Kind(
    name="TrainingJob",
    plural="trainingjobs",
    short_names=("tj",),
    spec=TrainingJobSpec,
    status=TrainingJobStatus,
    summary="Succeeded",
    rules=_run_rules(),
    description="One bounded run that makes a model: data in, a read-back model and its lineage out.",
    columns=(
        *summary_columns("Succeeded"),
        Column("Step", ".status.progress.step", "integer", "Last step reported."),
        Column("%", ".status.progress.percent", "integer", "Share done."),
        Column("Attempt", ".status.attempt", "integer", "Number of the attempt."),
        Column("Restarts", ".status.restarts.count", "integer", "Counted restarts."),
        Column("Checkpoint", ".status.checkpoint.step", "integer", "Step of the last committed checkpoint.", 1),
        Column("ETA", ".status.progress.etaSeconds", "integer", "Estimated seconds left.", 1),
        Column("External-ID", ".status.externalID", "string", "Name of the Job, or ARN of the training job, that runs.", 1),
        Column("Cost", ".status.cost.accruedUSD", description="US dollars so far.", priority=1),
        Column("Model", ".status.model.digest", "string", "Digest of the model.", 1),
        AGE,
    ),
)
