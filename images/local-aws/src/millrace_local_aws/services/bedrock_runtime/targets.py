"""What a modelId means: a foundation model on demand, provisioned throughput, or a deployment; and what answers for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millrace_local_aws.service import Call
from millrace_local_aws.services.bedrock import containers, deployments, throughputs
from millrace_local_aws.services.bedrock.foundation import Foundation, known
from millrace_local_aws.services.bedrock.service import invalid, lookup, not_found
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_PROFILE = re.compile(r"^(us|eu|apac|global)\.(?=[a-z0-9-]+\.)")
_UNSERVED = ("imported-model/", "application-inference-profile/", ":prompt/", "prompt-router/", ":sagemaker:")
_ON_DEMAND = (
    "Invocation of model ID {id} with on-demand throughput isn’t supported. Retry your request with the ID or ARN of an inference"
    " profile that contains this model."
)


@dataclass(frozen=True)
class Target:
    """`base` is the foundation model, whose form the bodies have; `record` what was bought or deployed; `tuned` how the custom
    model behind it was made, where there is one."""

    base: Foundation
    kind: str
    record: Record | None = None
    tuned: str | None = None

    async def task(self, world: World, scope: str) -> str:
        """The container's; one that stands in for foundation models may have to start first."""
        if self.record is None:
            return await containers.foundation(world, scope.partition("/")[2], self.base.id)
        part = throughputs if self.kind == "throughput" else deployments
        return str(part.task_id(scope, self.record))


def resolve(call: Call, name: str) -> Target:
    """By id, name or ARN; raises as Bedrock does."""
    if any(part in name for part in _UNSERVED):
        raise NotServed("bedrock-runtime", f"the model {name}")
    bought = lookup(call.world, call.scope, "throughput", name, "provisionedModelName")
    if bought is not None:
        return _serving(call, bought, "throughput", bought["status"] in ("InService", "Updating"))
    deployed = lookup(call.world, call.scope, "deployment", name, "modelDeploymentName")
    if deployed is not None:
        return _serving(call, deployed, "deployment", deployed["status"] == "Active")
    if ":provisioned-model/" in name or ":custom-model-deployment/" in name:
        raise not_found(f"Could not find the model {name}.")
    return _foundation(name)


def _serving(call: Call, record: Record, kind: str, serves: bool) -> Target:
    custom = lookup(call.world, call.scope, "model", record["modelArn"], "modelArn")
    base = known(custom["baseModelArn"] if custom else record["modelArn"])
    if base is None or not serves:
        raise AwsError("ModelNotReadyException", "Model is not ready for inference. Wait and try your request again.", 429)
    return Target(base, kind, record, custom["customizationType"] if custom else None)


def _foundation(name: str) -> Target:
    plain = _PROFILE.sub("", name.rpartition("inference-profile/")[2])
    base = known(plain)
    if base is None:
        raise invalid("The provided model identifier is invalid.")
    if "ON_DEMAND" not in base.inference:
        raise invalid(_ON_DEMAND.format(id=base.id))
    return Target(base, "foundation")
