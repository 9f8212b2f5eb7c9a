"""What would be made on SageMaker, as `millrace plan` shows it, and where the logs of what was made are. Pure."""

from __future__ import annotations

from typing import Any

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.aws.places import CloudLog
from millrace.aws.resolve import account_name
from millrace_controllers.trainingjob.backends.sagemaker import jumpstart, request
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_FROM_THE_CARD = "(from the hub's card)"


def everything(owner: Object, spec: TrainingJobSpec, inputs: tuple[ResolvedInput, ...]) -> list[Object]:
    """The request of the first attempt, on the first instance type; what only the hub knows is said to be so."""
    job = spec.sage_maker
    assert job is not None, "only asked for the member sageMaker"
    card = jumpstart.Recipe(_FROM_THE_CARD, _FROM_THE_CARD, _FROM_THE_CARD, spec.parameters or {}, {})
    hub = card if job.algorithm.jump_start else None
    asked = request.create(owner, spec, 1, job.instance_types[0], inputs, {}, 0, hub)
    made = {name: value for name, value in asked.items() if name != "Tags"}
    return [{"kind": "SageMakerTrainingJob", "metadata": {"name": made["TrainingJobName"]}, "spec": made}]


def log(obj: Object, attempt: int | None, rank: int) -> CloudLog | None:
    """Where an attempt's log is: the newest one's by default. SageMaker counts its hosts from 1. None for pods."""
    spec, status = obj["spec"], obj.get("status") or {}
    newest = int(status.get("attempt") or status.get("endedAttempt") or 0)
    number = newest if attempt is None else attempt
    if "sageMaker" not in spec:
        return None
    name = account_name(obj)
    if number < 1:
        return CloudLog(name)
    over = bool(status.get("completionTime")) or number <= int(status.get("endedAttempt") or 0)
    return CloudLog(name, LOG_GROUP, f"{request.attempt_name(obj, number)}/algo-{rank + 1}-", ends=over)
