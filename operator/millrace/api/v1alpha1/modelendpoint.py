"""ModelEndpoint: a model that answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.common import (
    ClaimName,
    CommonSpec,
    CommonStatus,
    Image,
    Model,
    ObjectReference,
    cel,
    exactly_one,
    same_member,
)
from millrace.api.pods import EnvVar, PodPlacement, PodResources, PullPolicy
from millrace.api.resource import AGE, Column, Kind, summary_columns

MEMBERS = ("kubernetes",)
MODELS = ("trainingJobRef", "uri")
UrlPath = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^\s]*$")]


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
        pattern=r"^(claim://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^\s]*)?|file:///[^\s]*)$",
        description="claim://CLAIM/PATH on a PersistentVolumeClaim, or file:///PATH within `kubernetes.image`.",
    )
    digest: str | None = Field(
        default=None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Tree digest that the files behind `uri` must have; a new one is rolled out.",
    )


class ProbeRequest(Model):
    """An HTTP request to the server of one pod."""

    method: Literal["GET", "POST"] = Field(default="POST", description="Method.")
    path: UrlPath = Field(description="Path, with its query.")
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


class ModelEndpointSpec(CommonSpec):
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
        )
    }

    model: ModelSource = Field(description="Which model.")
    kubernetes: KubernetesServing | None = Field(default=None, description="Serve it by pods of this cluster.")
    probe: Probe | None = Field(
        default=None, description="A golden request; with protocol OpenAI a completion of one token is asked by default."
    )


class ServedModel(Model):
    """The model that is to be served."""

    uri: str = Field(description="Where it is.")
    digest: str | None = Field(default=None, description="Its digest, where it is known before it is read.")
    training_job: str | None = Field(default=None, description="TrainingJob that made it.")
    run_id: str | None = Field(default=None, alias="runID", description="Run of that TrainingJob.")


class Traffic(Model):
    """Pods that get requests, by the model that they hold."""

    digest: str = Field(description="Digest of the model as its pods read it; of the image for a model within one.")
    pods: int = Field(description="Pods that get requests.")
    percent: int = Field(description="Their share of the requests.")


class ModelEndpointStatus(CommonStatus):
    """What answers."""

    url: str | None = Field(default=None, description="Where it answers within the cluster.")
    model: ServedModel | None = Field(default=None, description="The model that is to be served.")
    revision: str | None = Field(default=None, description="Names what the pods are made from.")
    replicas: int | None = Field(default=None, description="Pods that are wanted.")
    ready_replicas: int | None = Field(default=None, description="Pods of the current revision that get requests.")
    traffic: list[Traffic] | None = Field(default=None, max_length=16, description="Who gets requests.")
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
        Column("URL", ".status.url", description="Where it answers within the cluster."),
        Column("Model", ".status.model.digest", description="Digest of the model.", priority=1),
        AGE,
    ),
)
