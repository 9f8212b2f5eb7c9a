"""ModelEndpoint: serves a model, asks each pod a golden question, rolls over without a failed request."""

from millrace.api.v1alpha1.modelendpoint import KIND, ModelEndpointSpec
from millrace.aws.resolve import ACCOUNTS, account_name
from millrace.engine.cache import Key
from millrace.engine.controller import Controller, Object, Rule
from millrace.engine.settings import Settings
from millrace.kube.resources import DEPLOYMENTS, DISRUPTION_BUDGETS, PODS, SERVICES
from millrace_controllers.modelendpoint import estimate, models, reconcile, status
from millrace_controllers.modelendpoint.backends.kubernetes import manifests
from millrace_controllers.modelendpoint.backends.sagemaker import permissions, preview
from millrace_controllers.modelendpoint.observed import Target


def _references(obj: Object) -> tuple[Key, ...]:
    spec, namespace = obj["spec"], obj["metadata"]["namespace"]
    model = (spec.get("model") or {}).get("trainingJobRef")
    made = [Key("trainingjobs", namespace, model["name"])] if model else []
    if spec.get("sageMaker"):
        made.append(Key(ACCOUNTS, namespace, account_name(obj)))
    return tuple(made)


def _preview(obj: Object, settings: Settings) -> list[Object]:
    """A model that a TrainingJob will make is shown as if it lay where that is not known yet."""
    spec = ModelEndpointSpec.model_validate(obj["spec"])
    if spec.sage_maker is not None:
        return preview.everything(obj, spec)
    uri, digest = spec.model.uri or "claim://the-output-of-the-trainingjob", spec.model.digest
    return manifests.everything(obj, spec, Target(uri, digest, models.revision(spec, uri, digest)), settings)


CONTROLLER = Controller(
    kind=KIND,
    reconcile=reconcile.reconcile,
    finalize=reconcile.finalize,
    explain=status.explain,
    children=(DEPLOYMENTS, PODS, SERVICES, DISRUPTION_BUDGETS),
    rules=(
        Rule("apps", ("deployments",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("policy", ("poddisruptionbudgets",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("services",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("pods",), ("get", "list", "watch", "patch")),
    ),
    reasons=status.REASONS,
    references=_references,
    preview=_preview,
    estimate=estimate.estimate,
    cloud_log=preview.log,
    aws=permissions.FEATURES,
    resting=(status.OUTSIDE_HOURS, status.IDLE),
)
