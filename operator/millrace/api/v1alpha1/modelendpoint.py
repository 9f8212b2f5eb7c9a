"""ModelEndpoint: a model that answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.common import (
    ClaimName,
    CloudSpec,
    CommonStatus,
    Cost,
    Decimal,
    Image,
    KmsKeyID,
    Model,
    ObjectReference,
    RoleARN,
    cel,
    exactly_one,
    same_member,
)
from millrace.api.pods import EnvVar, PodPlacement, PodResources, PullPolicy
from millrace.api.resource import AGE, Column, Kind, summary_columns
from millrace.api.sagemaker import InstanceTypes, JumpStartModel, Licence, PassedOver, Vpc

MEMBERS = ("kubernetes", "sageMaker")
MODELS = ("trainingJobRef", "uri", "jumpStart", "marketplace")
TimeOfDay = Annotated[str, Field(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
UrlPath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^\s]*$")]


class MarketplaceModel(Model):
    """A model that a vendor offers on AWS Marketplace."""

    model_package_arn: str = Field(
        alias="modelPackageARN",
        max_length=2048,
        pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/[^\s]+$",
        description="The product's ARN, per Region and version.",
    )


class ModelSource(Model):
    """Which model; exactly one member is set."""

    model_config = {
        "json_schema_extra": cel(
            exactly_one(*MODELS),
            ("!has(self.digest) || (has(self.uri) && self.uri.startsWith('claim://'))", "`digest` needs a `uri` on a claim"),
        )
    }

    training_job_ref: ObjectReference | None = Field(
        default=None, description="A TrainingJob of the same namespace; its model is served once it was read back."
    )
    uri: str | None = Field(
        default=None,
        max_length=1024,
        pattern=r"^(claim://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s]*)?|file:///[^\s]*|s3://[a-z0-9][-a-z0-9.]+/[^\s]+)$",
        description="claim://CLAIM/PATH on a PersistentVolumeClaim or file:///PATH within `kubernetes.image`; for `sageMaker` "
        "s3://BUCKET/KEY.tar.gz, or s3://BUCKET/PREFIX/ of files as they are.",
    )
    jump_start: JumpStartModel | None = Field(default=None, description="A model of SageMaker's public hub.")
    marketplace: MarketplaceModel | None = Field(default=None, description="A model of AWS Marketplace.")
    digest: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Tree digest that the files behind `uri` must have; a new one is rolled out.",
    )


class ProbeRequest(Model):
    """An HTTP request to the server of one pod."""

    method: Literal["GET", "POST"] = Field(default="POST", description="Method.")
    path: UrlPath | None = Field(default=None, description="Path, with its query; SageMaker has one path for all requests.")
    body: dict[str, Any] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="JSON object that is sent.",
    )


class ProbeExpectation(Model):
    """What the answer must be."""

    status: int = Field(default=200, ge=100, le=599, description="HTTP status.")
    contains: str | None = Field(default=None, min_length=1, max_length=1024, description="Text that is in the answer's body.")
    matches: str | None = Field(
        default=None, min_length=1, max_length=512, description="Python regular expression that is found in the answer's body."
    )


class Probe(Model):
    """A golden request: each new pod must answer it as expected before it may get traffic."""

    request: ProbeRequest = Field(description="What is asked.")
    expect: ProbeExpectation | None = Field(default=None, description="What the answer must be; status 200 by default.")
    timeout_seconds: int = Field(default=30, ge=1, le=600, description="Time that the answer may take.")


class KubernetesServing(Model):
    """The endpoint as pods of this cluster."""

    model_config = {
        "json_schema_extra": cel(
            ("!has(self.command) || has(self.image)", "`command` needs `image`: without one our server is the command"),
            ("!has(self.args) || has(self.image)", "`args` needs `image`: our server is told by `parameters`"),
            ("!has(self.readyPath) || has(self.image)", "`readyPath` needs `image`: our server's is known"),
            (
                "self.protocol != 'Custom' || (has(self.image) && has(self.readyPath))",
                "protocol Custom needs `image` and `readyPath`: nothing is known of its server",
            ),
            ("self.protocol == 'OpenAI' || has(self.image)", "protocol V2 needs `image`: our server speaks OpenAI"),
            (
                "self.terminationGracePeriodSeconds > self.drainSeconds",
                "`terminationGracePeriodSeconds` must be longer than `drainSeconds`: requests in flight are finished after it",
            ),
        )
    }

    image: Image | None = Field(default=None, description="Image of the server; the operator's serving image by default.")
    image_pull_policy: PullPolicy = Field(default="IfNotPresent", description="As in a pod.")
    image_pull_secrets: list[ClaimName] | None = Field(default=None, max_length=8, description="Secrets to pull with.")
    command: list[str] | None = Field(default=None, min_length=1, max_length=64, description="Entry point of your image.")
    args: list[str] | None = Field(default=None, max_length=256, description="Arguments.")
    env: list[EnvVar] | None = Field(default=None, max_length=128, description="Environment, added to the contract's.")
    parameters: dict[str, Annotated[str, Field(max_length=4096)]] | None = Field(
        default=None, max_length=64, description="Settings of our server, as strings (docs/serve-contract.md)."
    )
    replicas: int = Field(default=1, ge=1, le=1000, description="Pods.")
    resources: PodResources | None = Field(default=None, description="Resources of a pod.")
    port: int = Field(default=8080, ge=1024, le=65535, description="Port of the server and of the Service.")
    protocol: Literal["OpenAI", "V2", "Custom"] = Field(
        default="OpenAI", description="What the server speaks: it decides where readiness is asked and whether `ask` works."
    )
    ready_path: UrlPath | None = Field(
        default=None, description="Answers 200 once the model is loaded; /health for OpenAI, /v2/health/ready for V2 by default."
    )
    start_seconds: int = Field(default=600, ge=1, le=86400, description="Time that loading the model may take.")
    drain_seconds: int = Field(
        default=5, ge=0, le=600, description="Time in which a stopping pod still takes requests, until nobody sends it any."
    )
    termination_grace_period_seconds: int = Field(
        default=60, ge=1, le=3600, description="Time between the stop and SIGKILL: requests in flight are finished in it."
    )
    placement: PodPlacement | None = Field(default=None, description="Where the pods may run.")


class InstanceCount(Model):
    """How many instances; between two numbers they follow the load."""

    model_config = {
        "json_schema_extra": cel(
            ("!has(self.max) || self.max >= self.min", "`max` may not be less than `min`"),
            (
                "(has(self.max) && self.max > self.min) == has(self.targetInvocationsPerInstance)",
                "`targetInvocationsPerInstance` goes with a `max` above `min`: what is scaled by",
            ),
        )
    }

    min: int = Field(default=1, ge=1, le=1000, description="Instances at least.")
    max: int | None = Field(default=None, ge=1, le=1000, description="Instances at most; as `min` when not given.")
    target_invocations_per_instance: int | None = Field(
        default=None, ge=1, le=10**9, description="Invocations a minute that one instance shall have on average."
    )


class SageMakerServing(Model):
    """The endpoint as instances of SageMaker."""

    role_arn: RoleARN = Field(alias="roleARN", description="Role that SageMaker pulls the image and reads the model as.")
    instance_types: InstanceTypes | None = Field(
        default=None,
        description="The first one that there is quota and capacity for; a hub model's own default when not given.",
    )
    override_instance_types: bool = Field(
        default=False, description="Take instance types, too, that a hub model's card does not name."
    )
    replicas: InstanceCount = Field(default=InstanceCount(), description="How many instances.")
    image: Image | None = Field(
        default=None,
        description="Image in ECR that follows SageMaker's container contract; what an algorithm trained comes with one.",
    )
    env: list[EnvVar] | None = Field(
        default=None, max_length=64, description="Environment; replaces what a hub model's card has."
    )
    volume_gib: int | None = Field(default=None, alias="volumeGiB", ge=1, le=512, description="Size of each instance's volume.")
    start_seconds: int | None = Field(default=None, ge=60, le=3600, description="Time that starting the container may take.")
    download_seconds: int | None = Field(default=None, ge=60, le=3600, description="Time that fetching the model may take.")
    network_isolation: bool = Field(default=False, description="The containers reach no network.")
    vpc: Vpc | None = Field(default=None, description="Networks that the containers are in; SageMaker's own when not given.")
    kms_key_id: KmsKeyID | None = Field(
        default=None,
        alias="kmsKeyID",
        description="Key that the instances' volumes are encrypted with.",
    )


class UpWindow(Model):
    """Hours in which the endpoint is there; they may pass midnight."""

    model_config = {"json_schema_extra": cel(("self.from != self.to", "`from` and `to` must differ"))}

    days: list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]] | None = Field(
        default=None, min_length=1, max_length=7, description="Days on which it begins; all when not given."
    )
    from_: TimeOfDay = Field(alias="from", description="When it comes up, HH:MM.")
    to: TimeOfDay = Field(description="When it goes, HH:MM.")


class Schedule(Model):
    """When the endpoint shall be there; at other times it is as if suspended."""

    time_zone: str = Field(
        default="UTC",
        max_length=64,
        pattern=r"^[A-Za-z0-9_+/-]+$",
        description="IANA name of the time zone, such as Europe/Berlin.",
    )
    up: list[UpWindow] = Field(min_length=1, max_length=32, description="Hours in which it is there.")


class ModelEndpointSpec(CloudSpec):
    """Desired endpoint."""

    model_config = {
        "json_schema_extra": cel(
            exactly_one(*MEMBERS),
            same_member(*MEMBERS),
            (
                "!has(self.model.uri) || !self.model.uri.startsWith('file://') || "
                "(has(self.kubernetes) && has(self.kubernetes.image))",
                "a file:// model is within an image: `kubernetes.image` must be set",
            ),
            (
                "has(self.sageMaker) || !(has(self.model.jumpStart) || has(self.model.marketplace) || "
                "(has(self.model.uri) && self.model.uri.startsWith('s3://')))",
                "models of the hub, of Marketplace and on S3 need `sageMaker`",
            ),
            (
                "has(self.kubernetes) || !has(self.model.uri) || self.model.uri.startsWith('s3://')",
                "SageMaker reads models from s3://, not from claims or images",
            ),
            (
                "!has(self.sageMaker) || has(self.model.trainingJobRef) || has(self.sageMaker.image) == has(self.model.uri)",
                "`sageMaker.image` must be set for a model of your own, and may not be for one of the hub or of Marketplace",
            ),
            (
                "!has(self.sageMaker) || has(self.sageMaker.instanceTypes) || has(self.model.jumpStart)",
                "`sageMaker.instanceTypes` must be set: only the hub knows a default",
            ),
            (
                "!has(self.sageMaker) || has(self.probe) || has(self.model.jumpStart)",
                "`probe` must be set: Ready means that the golden request was answered, and only the hub knows one by itself",
            ),
            (
                "!has(self.probe) || has(self.probe.request.path) == has(self.kubernetes)",
                "`probe.request.path` must be set for `kubernetes`, and may not be for `sageMaker`",
            ),
            (
                "!has(self.sageMaker) || !has(self.probe) || (self.probe.request.method == 'POST' && "
                "(!has(self.probe.expect) || self.probe.expect.status == 200))",
                "SageMaker is asked by POST and gives no other answer than 200",
            ),
            (
                "!has(self.sageMaker) || !has(self.sageMaker.env) || !has(self.model.marketplace)",
                "`sageMaker.env` may not be set for a model of Marketplace: its package has its own",
            ),
            (
                "!has(self.idleSeconds) || has(self.sageMaker)",
                "`idleSeconds` needs `sageMaker`: nobody counts the requests that pods get; use `schedule` or `suspend`",
            ),
            ("!has(self.accountRef) || has(self.sageMaker)", "`accountRef` is for `sageMaker`"),
            (
                "has(self.accountRef) == has(oldSelf.accountRef) && "
                "(!has(self.accountRef) || self.accountRef.name == oldSelf.accountRef.name)",
                "`accountRef` may not change: what runs in the account before would be lost; make a new object",
            ),
            ("!has(self.tags) || has(self.sageMaker)", "`tags` are for `sageMaker`"),
        )
    }

    model: ModelSource = Field(description="Which model.")
    kubernetes: KubernetesServing | None = Field(default=None, description="Serve it by pods of this cluster.")
    sage_maker: SageMakerServing | None = Field(default=None, description="Serve it by SageMaker.")
    schedule: Schedule | None = Field(default=None, description="When it shall be there; always when not given.")
    idle_seconds: int | None = Field(
        default=None,
        ge=300,
        le=1209600,
        description="Stop it after so long without a request; a change of the spec, another value of the annotation "
        "millrace.dev/start-at or the next opening of `schedule` starts it again. For `sageMaker`.",
    )
    probe: Probe | None = Field(
        default=None, description="A golden request; with protocol OpenAI a completion of one token is asked by default."
    )


class ServedModel(Model):
    """The model that is to be served."""

    uri: str = Field(description="Where it is.")
    digest: str | None = Field(default=None, description="Its digest, where it is known before it is read.")
    training_job: str | None = Field(default=None, description="TrainingJob that made it.")
    run_id: str | None = Field(default=None, alias="runID", description="Run of that TrainingJob.")
    algorithm_arn: str | None = Field(default=None, alias="algorithmARN", description="Algorithm that it was trained by.")


class HostedStatus(Model):
    """What there is on SageMaker."""

    endpoint_name: str = Field(description="Name to invoke it by.")
    config: str | None = Field(default=None, description="Endpoint configuration that serves.")
    state: str | None = Field(default=None, description="EndpointStatus, as SageMaker has it.")
    instance_type: str | None = Field(default=None, description="Instance type that serves, or is tried.")
    passed_over: list[PassedOver] | None = Field(
        default=None, max_length=8, description="Instance types that could not be had for the current revision."
    )
    updating_to: str | None = Field(default=None, description="Configuration that an update was begun to.")
    probed: str | None = Field(default=None, description="Configuration that answered the golden request, and which that was.")
    scaled: str | None = Field(default=None, description="Number of instances that was last set.")
    changed: str | None = Field(default=None, description="When SageMaker last changed the endpoint.")
    last_used: str | None = Field(
        default=None, description="About when it was last asked, as far as that was looked at; for `idleSeconds`."
    )
    model_version: str | None = Field(default=None, description="Version of a hub model.")
    image: str | None = Field(default=None, description="Image of the container.")
    packaged: bool | None = Field(default=None, description="Model packages were made for it, and go with it.")


class Idle(Model):
    """That it was stopped for want of requests."""

    since: str = Field(json_schema_extra={"format": "date-time"}, description="About when it was last asked.")
    under: str = Field(description="Generation, annotation and opening under which that was; another one starts it again.")


class Traffic(Model):
    """Pods that get requests, by the model that they hold."""

    digest: str = Field(description="Digest of the model as its pods read it; of the image for a model within one.")
    pods: int = Field(description="Pods that get requests.")
    percent: int = Field(description="Their share of the requests.")


class ProbeResult(Model):
    """What the answer to the golden request took, the first time that a revision gave it."""

    revision: str = Field(description="Revision that answered.")
    milliseconds: int = Field(description="Time of the whole request: connection, prompt and all tokens of the answer.")
    tokens: int | None = Field(default=None, description="Tokens of the answer, where it says how many they are.")
    tokens_per_second: Decimal | None = Field(
        default=None, description="Tokens of the answer by the time of the whole request; not there where it tells no tokens."
    )


class ModelEndpointStatus(CommonStatus):
    """What answers."""

    url: str | None = Field(default=None, description="Where it answers within the cluster.")
    model: ServedModel | None = Field(default=None, description="The model that is to be served.")
    revision: str | None = Field(default=None, description="Names what the pods are made from.")
    replicas: int | None = Field(default=None, description="Pods that are wanted.")
    ready_replicas: int | None = Field(default=None, description="Pods of the current revision that get requests.")
    traffic: list[Traffic] | None = Field(default=None, max_length=16, description="Who gets requests.")
    probe: ProbeResult | None = Field(default=None, description="How fast the golden request was answered.")
    sage_maker: HostedStatus | None = Field(default=None, description="What there is on SageMaker.")
    licence: Licence | None = Field(default=None, description="The licence that was accepted, of a gated model.")
    idle: Idle | None = Field(default=None, description="That it was stopped for want of requests.")
    cost: Cost | None = Field(default=None, description="What it costs, by the operator's price table.")
    applied_generation: int | None = Field(default=None, description="Generation of the Deployment that was last made by us.")


KIND = Kind(
    name="ModelEndpoint",
    plural="modelendpoints",
    short_names=("me",),
    spec=ModelEndpointSpec,
    status=ModelEndpointStatus,
    summary="Ready",
    rules=(
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must begin with a letter and hold no dots: the Service has the same name",
        ),
    ),
    description="A model that answers: loaded, asked a golden request pod by pod, and rolled over without a failed request.",
    columns=(
        *summary_columns("Ready"),
        Column("Pods", ".status.readyReplicas", "integer", "Pods of the current revision that get requests."),
        Column("Wanted", ".status.replicas", "integer", "Pods that are wanted."),
        Column("USD/h", ".status.cost.hourlyUSD", description="US dollars an hour, on AWS."),
        Column("Tokens/s", ".status.probe.tokensPerSecond", description="Tokens a second of the golden request.", priority=1),
        Column("URL", ".status.url", description="Where it answers within the cluster."),
        Column("Model", ".status.model.digest", description="Digest of the model.", priority=1),
        AGE,
    ),
)
