"""TrainingJob: one bounded run that makes a model."""

from millrace.api.v1alpha1.trainingjob import KIND, TrainingJobSpec
from millrace.aws.resolve import ACCOUNTS, account_name
from millrace.engine.cache import Key
from millrace.engine.controller import Controller, Object, Rule
from millrace.engine.settings import Settings
from millrace.kube.resources import JOBS, PODS, SERVICES
from millrace_controllers.trainingjob import estimate, inputs, progress, reconcile, status
from millrace_controllers.trainingjob.backends.kubernetes import observe, pod
from millrace_controllers.trainingjob.backends.sagemaker import permissions, preview


def _references(obj: Object) -> tuple[Key, ...]:
    namespace, spec = obj["metadata"]["namespace"], obj["spec"]
    names = [i["datasetRef"]["name"] for i in spec.get("inputs") or () if i.get("datasetRef")]
    account = [account_name(obj)] if "sageMaker" in spec else []
    return (*(Key("datasets", namespace, n) for n in names), *(Key(ACCOUNTS, namespace, n) for n in account))


def _preview(obj: Object, settings: Settings) -> list[Object]:
    """The first attempt; inputs by Dataset are left out, for what they will be is known only in the cluster."""
    spec = TrainingJobSpec.model_validate(obj["spec"])
    known = [i for i in spec.inputs or () if i.dataset_ref is None]
    found = inputs.resolve(known, None, lambda _: None)
    if spec.kubernetes is None:
        return preview.everything(obj, spec, found)
    return [*pod.made_claims(obj, spec), pod.service(obj, 1), pod.job(obj, spec, 1, found, settings)]


CONTROLLER = Controller(
    kind=KIND,
    reconcile=reconcile.reconcile,
    finalize=reconcile.finalize,
    explain=status.explain,
    children=(JOBS, PODS, SERVICES),
    rules=(
        Rule("batch", ("jobs",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("pods",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("services",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("persistentvolumeclaims",), ("get", "create", "delete")),
        Rule("", ("events",), ("get", "list", "create", "patch")),
        Rule("", ("nodes",), ("get", "list", "watch"), cluster_scoped=True),
    ),
    reasons=status.REASONS,
    references=_references,
    watches_nodes=True,
    wake_on_node=lambda node: observe.node_trouble(node) is not None,
    progress_fields=progress.FIELDS,
    preview=_preview,
    estimate=estimate.estimate,
    cloud_log=preview.log,
    aws=permissions.FEATURES,
)
