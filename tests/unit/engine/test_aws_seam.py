"""Where the engine meets AWS: events wake the object of their thing, referrers are found, errors become outcomes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from millrace.aws import errors as aws
from millrace.aws import subscriptions
from millrace.engine import conditions, reasons
from millrace.engine.cache import Key
from millrace.engine.errors import Retry, understood
from millrace.engine.registry import controllers
from millrace.engine.runtime import Runtime
from millrace.engine.settings import Settings, from_environment
from millrace.kube.credentials import Credentials
from millrace.kube.errors import Forbidden, NotFound, Unavailable
from millrace.kube.resources import NAMESPACES, Resource
from support import builders
from support.clock import FakeClock

Object = dict[str, Any]
ARN = "arn:aws:sagemaker:us-east-1:111122223333:training-job/gpt"
KEY = Key("trainingjobs", builders.NAMESPACE, "gpt")


class Api:
    """Answers for the namespace kube-system, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, list[tuple[Resource, str]]()

    async def get(self, resource: Resource, _: str | None, name: str) -> Object:
        self.asked.append((resource, name))
        if self.error:
            raise self.error
        return {"metadata": {"uid": "the-cluster"}}


def runtime(api: Api | None = None, **environment: str) -> Runtime:
    settings = from_environment(environment) if environment else Settings()
    nowhere = Credentials("http://nowhere.test", True, lambda: None)
    return Runtime(controllers(), settings, nowhere, clock=FakeClock(), client=api or Api())  # type: ignore[arg-type]


def job(version: int, external: str | None = None) -> Object:
    status = {"externalID": external} if external else {}
    return builders.training_job(status, {"resourceVersion": str(version)})


def ready(made: Runtime) -> int:
    return made.queue.depth


def test_an_event_wakes_the_object_whose_status_names_its_thing() -> None:
    made = runtime()
    made._deliver("trainingjobs", "ADDED", job(1, ARN), made._wake_self)
    before = ready(made)
    assert made.cloud.wake_by_id(ARN) == 1
    assert made.cloud.wake_by_id("arn:of-nobody") == 0
    assert ready(made) == before == 1  # one object, one pass


def test_an_echo_of_our_own_write_tells_the_thing_too() -> None:
    """The operator has put the answer of its write into the cache before the watch brings it."""
    made = runtime()
    made.cache.put("trainingjobs", job(2, ARN))
    made._deliver("trainingjobs", "MODIFIED", job(2, ARN), made._wake_self)
    assert ready(made) == 0
    assert made.cloud.wake_by_id(ARN) == 1
    assert ready(made) == 1


def test_an_event_that_came_before_the_status_makes_a_pass_once_the_status_is_there() -> None:
    made = runtime()
    made.cache.put("trainingjobs", job(2, ARN))
    assert made.cloud.wake_by_id(ARN) == 0
    made._deliver("trainingjobs", "MODIFIED", job(2, ARN), made._wake_self)
    assert ready(made) == 1


def test_how_long_to_wait_for_a_subscription_is_said_by_whoever_was_refused() -> None:
    refused = aws.NotSubscribed(WHERE, "no")
    assert getattr(understood(refused), "after", None) == 300.0, "not every half minute"
    refused.after = 900.0
    assert getattr(understood(refused), "after", None) == 900.0


@pytest.mark.proves("15.7")
def test_a_subscription_wakes_all_who_wait_for_one_and_nobody_else() -> None:
    made = runtime()
    for version, (name, reason) in enumerate({"waits": "NotSubscribed", "too": "NotSubscribed", "runs": "Running"}.items(), 1):
        waiting = builders.training_job({"conditions": [{"type": "Succeeded", "status": "Unknown", "reason": reason}]}, name=name)
        waiting["metadata"] |= {"uid": name, "resourceVersion": str(version)}
        made._deliver("trainingjobs", "ADDED", waiting, made._wake_self)
    assert made.cloud.wake_by_id(subscriptions.AWAITED) == 2


def test_a_deleted_object_is_woken_by_nothing() -> None:
    made = runtime()
    made._deliver("trainingjobs", "ADDED", job(1, ARN), made._wake_self)
    made._deliver("trainingjobs", "DELETED", job(3, ARN), made._wake_self)
    assert made.cloud.wake_by_id(ARN) == 0


def account(version: int, ready: str = "True", cost: str = "1.00", generation: int = 1) -> Object:
    condition = {"type": "Ready", "status": ready, "observedGeneration": generation}
    metadata = {
        "name": "default",
        "namespace": builders.NAMESPACE,
        "uid": "a",
        "generation": generation,
        "resourceVersion": str(version),
    }
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "CloudAccount",
        "metadata": metadata,
        "spec": {"region": "us-east-1"},
        "status": {"conditions": [condition], "costs": {"monthUSD": cost}},
    }


# the account's next state, woken, why
ACCOUNTS = [
    (account(2, cost="2.00"), 1, "costs change all the time, and concern nobody else"),
    (account(2, ready="False"), 2, "those that use it must stop"),
    (account(2, generation=2), 2, "its spec is another one"),
]


@pytest.mark.parametrize(("after", "woken", "why"), ACCOUNTS)
def test_users_of_an_account_are_woken_by_what_concerns_them(after: Object, woken: int, why: str) -> None:
    made = runtime()
    user = builders.training_job({}, {"resourceVersion": "1"})
    user["spec"]["sageMaker"] = {}
    made._deliver("trainingjobs", "ADDED", user, made._wake_self)
    made._deliver("cloudaccounts", "ADDED", account(1), made._wake_self)
    made.queue._ready.clear()
    made.queue._turns.clear()
    made._deliver("cloudaccounts", "MODIFIED", after, made._wake_self)
    assert ready(made) == woken, why


def test_a_change_of_the_account_outside_a_pass_wakes_the_cloud_account() -> None:
    made = runtime()
    made.cloud.wake_account("team", "default")
    assert ready(made) == 1


async def test_the_clusters_id_is_the_uid_of_kube_system_unless_the_installer_says_another() -> None:
    made = runtime(Api())
    await made._find_cluster_id()
    assert made.cloud.cluster_id == "the-cluster"
    api = Api()
    told = runtime(api, MILLRACE_CLUSTER_ID="prod")
    await told._find_cluster_id()
    assert (told.cloud.cluster_id, api.asked) == ("prod", [])


async def test_an_api_server_that_is_away_is_asked_again_for_the_clusters_id() -> None:
    with pytest.raises(Unavailable):
        await runtime(Api(Unavailable(503, "", "away")))._find_cluster_id()


@pytest.mark.parametrize("error", [Forbidden(403, "Forbidden", "no"), NotFound(404, "NotFound", "gone")])
async def test_a_cluster_that_does_not_tell_its_id_is_served_all_the_same(error: Exception) -> None:
    made = runtime(Api(error))
    await made._find_cluster_id()
    assert made.cloud.cluster_id == ""
    assert made.client.asked == [(NAMESPACES, "kube-system")]  # type: ignore[attr-defined]


def test_who_refers_to_an_object_is_found_in_its_namespace_only() -> None:
    made = runtime()
    refers = {"inputs": [{"name": "train", "datasetRef": {"name": "d"}}]}
    for name, namespace, spec in (("a", builders.NAMESPACE, refers), ("b", "other", refers), ("c", builders.NAMESPACE, {})):
        obj = builders.training_job({}, {"name": name, "namespace": namespace, "uid": name}, **spec)
        made.cache.put("trainingjobs", obj)
    found = made.engine._referrers(Key("datasets", builders.NAMESPACE, "d"))
    assert [o["metadata"]["name"] for o in found] == ["a"]


WHERE = aws.Where("sagemaker", "CreateTrainingJob", "X")

# error, reason, why
PASSING = [
    (aws.Throttled(WHERE, "slow"), reasons.RETRYING, "its turn comes"),
    (aws.Denied(WHERE, "no"), reasons.DENIED, "somebody must grant it"),
    (aws.NoCredentials(WHERE, "who?"), reasons.DENIED, "somebody must give an identity"),
    (aws.QuotaExceeded(WHERE, "full"), reasons.QUOTA_EXCEEDED, "a queue, not a failure"),
    (aws.NotSubscribed(WHERE, "no"), reasons.NOT_SUBSCRIBED, "somebody must subscribe"),
    (aws.AccountNotReady("no"), reasons.ACCOUNT_NOT_READY, "another object must change"),
    (aws.BudgetExceeded("spent"), reasons.BUDGET_EXCEEDED, "the month must end"),
    (aws.Unavailable(WHERE, "away"), reasons.RETRYING, "passes by itself"),
]


@pytest.mark.parametrize(("error", "reason", "why"), PASSING)
def test_what_can_pass_is_unknown_for_a_run_and_never_stalled(error: aws.AwsError, reason: reasons.Reason, why: str) -> None:
    verdicts = conditions.for_error("Succeeded", understood(error))
    assert [(v.type, v.status, v.reason) for v in verdicts] == [
        ("Succeeded", "Unknown", reason.name),
        ("Reconciling", "True", reason.name),
    ], why


def test_an_operator_without_cloud_accounts_does_not_load_botocore() -> None:
    """It is a fifth of the memory of an idle operator."""
    code = "import sys, millrace.__main__ as m; m.controllers(); print(sorted({'boto3', 'botocore'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_turn_that_has_not_come_grows_no_backoff() -> None:
    late = aws.Throttled(WHERE, "slow")
    late.after = 7.0
    meant = understood(late)
    assert isinstance(meant, Retry)
    assert (meant.patient, meant.after) == (True, 7.0)
