"""CloudAccount: says who calls to AWS are made as, hears of changes, and adds up what they cost."""

from millrace.api.v1alpha1.cloudaccount import KIND
from millrace.aws.resolve import concerns_users
from millrace.engine.controller import Controller
from millrace_controllers.cloudaccount import reconcile, status
from millrace_controllers.cloudaccount.backends import permissions

CONTROLLER = Controller(
    kind=KIND,
    reconcile=reconcile.reconcile,
    finalize=reconcile.finalize,
    explain=status.explain,
    children=(),
    rules=(),
    reasons=status.REASONS,
    tells=concerns_users,
    aws=permissions.FEATURES,
)
