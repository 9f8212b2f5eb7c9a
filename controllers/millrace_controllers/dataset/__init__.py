"""Dataset: reads, checks and publishes content under its digest."""

from millrace.api.v1alpha1.dataset import KIND, DatasetSpec
from millrace.aws.resolve import ACCOUNTS, account_name
from millrace.engine.cache import Key
from millrace.engine.controller import Controller, Object, Rule
from millrace.engine.settings import Settings
from millrace.kube.resources import JOBS, PODS
from millrace_controllers.dataset import plan, reconcile, status
from millrace_controllers.dataset.backends import kubernetes, permissions


def _references(obj: Object) -> tuple[Key, ...]:
    spec, namespace = obj["spec"], obj["metadata"]["namespace"]
    compared = (spec.get("quality") or {}).get("compareWith") or ()
    made = [Key(KIND.plural, namespace, other["name"]) for other in compared]
    if "s3" in spec["source"] or "s3" in (spec.get("publish") or {}) or spec.get("accountRef"):
        made.append(Key(ACCOUNTS, namespace, account_name(obj)))
    return tuple(made)


def _preview(obj: Object, settings: Settings) -> list[Object]:
    spec = DatasetSpec.model_validate(obj["spec"])
    print_ = plan.fingerprint(spec, "")
    return [kubernetes.job_manifest(obj, spec, print_, settings.images.dataset, settings.progress_url)]


CONTROLLER = Controller(
    kind=KIND,
    reconcile=reconcile.reconcile,
    finalize=reconcile.finalize,
    explain=status.explain,
    children=(JOBS, PODS),
    rules=(
        Rule("batch", ("jobs",), ("get", "list", "watch", "create", "patch", "delete")),
        Rule("", ("pods",), ("get", "list", "watch")),
        Rule("", ("configmaps",), ("get",)),
    ),
    reasons=status.REASONS,
    progress_fields=frozenset({"progressPercent"}),
    preview=_preview,
    references=_references,
    aws=permissions.FEATURES,
)
