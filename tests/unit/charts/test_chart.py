"""What the chart millrace makes of its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace.data import prices
from millrace.engine.settings import from_environment

pytestmark = pytest.mark.timeout(900)
Object = dict[str, Any]
Render = Callable[..., list[Object]]


def one(manifests: list[Object], kind: str, ending: str = "") -> Object:
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(ending)]
    assert len(found) == 1, f"{len(found)} objects {kind} *{ending}"
    return found[0]


def kinds(manifests: list[Object], *wanted: str) -> list[tuple[str, str | None, str]]:
    return sorted((m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests if m["kind"] in wanted)


def pod_specs(manifests: list[Object]) -> list[Object]:
    return [m["spec"]["template"]["spec"] for m in manifests if m["kind"] in {"Deployment", "Job"}]


def environment(manifests: list[Object]) -> dict[str, str]:
    container = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {e["name"]: e.get("value", "") for e in container["env"]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("replica=2", "'replica' not allowed"),
        ("images.operator.tga=x", "'tga' not allowed"),
        ("images.operator.digest=latest", "does not match pattern"),
        ("rbac.cluster=false", "'cluster' not allowed"),
        ("replicas=two", "want integer"),
        ("resyncSeconds=3600", "maximum"),
        ("logLevel=LOUD", "must be one of"),
        ("watchNamespaces[0]=Not_A_Name", "does not match pattern"),
        ("leaderElection.enabled=false,replicas=2", "two operators would act"),
        ("serviceAccount.create=false", "serviceAccount.name must be set"),
    ],
)
def test_a_wrong_value_is_refused_by_name(render: Render, value: str, said: str) -> None:
    with pytest.raises(render.refused, match=said):  # type: ignore[attr-defined]
        render("millrace", value)


def test_every_pod_meets_the_restricted_pod_security_standard(render: Render) -> None:
    specs = pod_specs(render("millrace"))
    assert len(specs) == 2
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_without_namespaces_the_operator_has_a_cluster_role(render: Render) -> None:
    made = render("millrace")
    role = one(made, "ClusterRole", "millrace-system-millrace")
    resources = {r for rule in role["rules"] for r in rule["resources"]}
    assert {"trainingjobs", "jobs", "tokenreviews"} <= resources
    assert kinds(made, "Role") == [("Role", "millrace-system", "millrace-leader")]


def test_watched_namespaces_get_roles_and_the_cluster_role_keeps_only_what_no_role_can_give(render: Render) -> None:
    made = render("millrace", "watchNamespaces={red,blue}")
    roles = [(namespace, name) for kind, namespace, name in kinds(made, "Role") if not name.endswith(("-leader", "-guard"))]
    assert roles == [("blue", "millrace-system-millrace"), ("red", "millrace-system-millrace")]
    rules = one(made, "ClusterRole", "millrace-system-millrace")["rules"]
    namespaced = {
        "trainingjobs",
        "datasets",
        "jobs",
        "pods",
        "services",
        "configmaps",
        "events",
        "secrets",
        "persistentvolumeclaims",
    }
    assert not namespaced & {r for rule in rules for r in rule["resources"]}
    assert environment(made)["MILLRACE_WATCH_NAMESPACES"] == "red,blue"


def test_an_installer_without_cluster_rights_needs_no_cluster_scoped_object(render: Render) -> None:
    made = render("millrace", "watchNamespaces={red}", "rbac.clusterScoped=false", "rbac.aggregateToUserRoles=false")
    assert kinds(made, "ClusterRole", "ClusterRoleBinding") == []
    assert environment(made)["MILLRACE_PROGRESS_URL"] == ""


def test_every_binding_names_a_role_and_an_account_that_exist(render: Render) -> None:
    for values in ((), ("watchNamespaces={red,blue}",)):
        made = render("millrace", *values)
        roles = {(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in made}
        for binding in (m for m in made if m["kind"].endswith("RoleBinding")):
            reference = binding["roleRef"]
            assert (reference["kind"], binding["metadata"].get("namespace"), reference["name"]) in roles
            (subject,) = binding["subjects"]
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in roles


def test_two_releases_in_two_namespaces_share_no_cluster_scoped_name(render: Render) -> None:
    def names(namespace: str) -> set[str]:
        made = render("millrace", namespace=namespace)
        return {m["metadata"]["name"] for m in made if m["kind"].startswith("ClusterRole")}

    assert names("one").isdisjoint(names("two"))


@pytest.mark.parametrize(("replicas", "budgets", "spreads"), [(1, 0, 0), (2, 1, 1), (3, 1, 1)])
def test_a_disruption_budget_and_a_spread_come_with_the_second_replica(
    render: Render, replicas: int, budgets: int, spreads: int
) -> None:
    made = render("millrace", f"replicas={replicas}")
    assert len(kinds(made, "PodDisruptionBudget")) == budgets
    assert len(one(made, "Deployment")["spec"]["template"]["spec"].get("topologySpreadConstraints", [])) == spreads


def test_with_leader_election_the_next_replica_stands_by_before_the_last_one_ends(render: Render) -> None:
    assert one(render("millrace"), "Deployment")["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    alone = render("millrace", "leaderElection.enabled=false")
    assert one(alone, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_progress_is_pushed_to_the_leader_at_the_address_that_pods_are_told(render: Render) -> None:
    made = render("millrace", namespace="ops", name="m")
    service = one(made, "Service", "-progress")
    pod = one(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    leader = {**pod, "millrace.dev/leader": "true"}
    assert service["spec"]["selector"].items() <= leader.items()
    assert not service["spec"]["selector"].items() <= pod.items(), "a standby must not get pushes"
    port = service["spec"]["ports"][0]["port"]
    url = f"http://{service['metadata']['name']}.ops.svc:{port}/v1/progress"
    assert environment(made)["MILLRACE_PROGRESS_URL"] == url


def test_the_network_policy_admits_pushes_from_our_pods_alone_and_probes_from_anywhere(render: Render) -> None:
    spec = one(render("millrace"), "NetworkPolicy")["spec"]
    by_port = {rule["ports"][0]["port"]: rule.get("from") for rule in spec["ingress"]}
    assert by_port == {
        8090: [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"millrace.dev/managed": "true"}}}],
        8080: None,
    }
    assert spec["policyTypes"] == ["Ingress"], "what the operator may reach is the cluster's own business"


def test_without_progress_there_is_no_door_for_it(render: Render) -> None:
    made = render("millrace", "progress.enabled=false")
    assert [name for _, _, name in kinds(made, "Service")] == ["millrace-metrics"]
    assert [r["ports"][0]["port"] for r in one(made, "NetworkPolicy")["spec"]["ingress"]] == [8080]
    assert environment(made)["MILLRACE_PROGRESS_PORT"] == "0"


def test_the_settings_that_the_operator_reads_are_those_that_the_values_say(render: Render) -> None:
    made = render(
        "millrace",
        "workers=7", "resyncSeconds=60", "logLevel=DEBUG", "progress.intervalSeconds=5", "progress.writesPerSecond=3",
        "leaderElection.leaseSeconds=30", "images.trainer.repository=own/trainer", "images.trainer.tag=v9",
    )  # fmt: skip
    settings = from_environment(environment(made))
    assert (settings.workers, settings.resync_seconds, settings.log_level) == (7, 60.0, "DEBUG")
    assert (settings.progress_interval_seconds, settings.progress_writes_per_second) == (5.0, 3.0)
    assert (settings.lease_seconds, settings.leader_election, settings.http_port) == (30, True, 8080)
    assert settings.images.trainer == "own/trainer:v9"
    assert settings.progress_url == "http://millrace-progress.millrace-system.svc:8090/v1/progress"


def test_the_chart_sets_nothing_that_the_operator_does_not_read(render: Render) -> None:
    made = environment(render("millrace"))
    read: set[str] = set()

    class Recording(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return super().get(key, default)

    from_environment(Recording(made))
    assert set(made) <= read


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), "millrace/operator:0.1.0"),
        (("images.operator.tag=v2",), "millrace/operator:v2"),
        (("imageRegistry=registry.example.org/",), "registry.example.org/millrace/operator:0.1.0"),
        ((f"images.operator.digest=sha256:{'a' * 64}", "images.operator.tag=v2"), f"millrace/operator@sha256:{'a' * 64}"),
    ],
)
def test_images_by_tag_registry_or_digest(render: Render, values: tuple[str, ...], image: str) -> None:
    assert {spec["containers"][0]["image"] for spec in pod_specs(render("millrace", *values))} == {image}


def test_monitoring_is_made_only_when_asked_for(render: Render) -> None:
    assert kinds(render("millrace"), "ServiceMonitor", "PrometheusRule") == []
    made = render("millrace", "metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true")
    monitor = one(made, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= one(made, "Service", "-metrics")["metadata"]["labels"].items()
    alerts = [rule["alert"] for group in one(made, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert alerts == ["MillraceNoLeader", "MillraceTerminalErrors", "MillraceQueueOld", "MillraceStaleWatch"]


def test_alerts_ask_for_metrics_that_exist(render: Render) -> None:
    from millrace.telemetry.metrics import Metrics

    made = one(render("millrace", "metrics.prometheusRule.enabled=true"), "PrometheusRule")
    exposed = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE")}
    for rule in made["spec"]["groups"][0]["rules"]:
        assert any(f"{name}{{" in rule["expr"] for name in exposed), rule["expr"]


def test_uninstalling_is_guarded_by_a_hook_with_an_account_of_its_own(render: Render) -> None:
    made = render("millrace")
    job = one(made, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert job["metadata"]["annotations"]["helm.sh/hook-output-log-policy"] == "hook-failed"
    assert job["spec"]["backoffLimit"] == 0
    account = one(made, "ServiceAccount", "-uninstall-guard")
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    rules = one(made, "ClusterRole", "-guard")["rules"]
    assert {v for rule in rules for v in rule["verbs"]} == {"list"}
    assert kinds(render("millrace", "uninstallGuard.enabled=false"), "Job") == []


def test_the_guards_rights_are_no_hooks(render: Render) -> None:
    """A namespace that was watched may be gone by then, and its Role with it; a hook would try to make one in it."""
    for values in ((), ("watchNamespaces={red,blue}",)):
        made = render("millrace", *values)
        hooks = [m["kind"] for m in made if "helm.sh/hook" in (m["metadata"].get("annotations") or {})]
        assert hooks == ["Job"]


def test_users_roles_are_aggregated_unless_switched_off(render: Render) -> None:
    made = render("millrace")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        m["metadata"]["name"].rpartition("-")[2]: sorted(
            k.removeprefix(prefix) for k in m["metadata"]["labels"] if k.startswith(prefix)
        )
        for m in made
        if m["kind"] == "ClusterRole"
    }
    assert aggregated["view"] == ["admin", "edit", "view"]
    assert aggregated["edit"] == ["admin", "edit"]
    off = render("millrace", "rbac.aggregateToUserRoles=false")
    assert not [name for _, _, name in kinds(off, "ClusterRole") if name.endswith(("-view", "-edit"))]


def test_every_object_carries_the_recommended_labels(render: Render) -> None:
    made = render("millrace", "replicas=2", "metrics.serviceMonitor.enabled=true", "metrics.prometheusRule.enabled=true")
    for manifest in made:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "millrace"
        assert labels["app.kubernetes.io/instance"] == "millrace"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert {"app.kubernetes.io/version", "app.kubernetes.io/part-of", "helm.sh/chart"} <= labels.keys(), manifest["kind"]


def test_the_pod_goes_where_it_is_told(render: Render) -> None:
    made = render(
        "millrace",
        "priorityClassName=high", "nodeSelector.pool=system", "tolerations[0].key=dedicated", "tolerations[0].operator=Exists",
        "serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::111122223333:role/millrace",
        "resources.limits.memory=2Gi", "imagePullSecrets[0].name=pull",
    )  # fmt: skip
    spec = one(made, "Deployment")["spec"]["template"]["spec"]
    assert (spec["priorityClassName"], spec["nodeSelector"]) == ("high", {"pool": "system"})
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["containers"][0]["resources"]["limits"]["memory"] == "2Gi"
    account = next(m for m in made if m["kind"] == "ServiceAccount" and m["metadata"]["name"] == "millrace")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/millrace"}


def test_definitions_are_kept_when_their_chart_is_uninstalled(render: Render) -> None:
    made = render("millrace-crds")
    assert {m["metadata"]["name"] for m in made} >= {"datasets.millrace.dev", "trainingjobs.millrace.dev"}
    assert {m["kind"] for m in made} == {"CustomResourceDefinition"}
    assert all(m["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for m in made)


def test_aws_values_reach_the_operator_and_prices_its_file(render: Render) -> None:
    plain = environment(render("millrace"))
    assert plain["MILLRACE_AWS_CUSTOM_ENDPOINTS"] == "false"
    assert "AWS_ENDPOINT_URL" not in plain
    made = render(
        "millrace",
        "aws.clusterID=prod",
        "aws.ownIdentity=false",
        "aws.endpointURL=http://local-aws:4566",
        "aws.prices.us-east-1.sagemaker-training.ml\\.p5\\.48xlarge=60.50",
    )
    told = environment(made)
    settings = from_environment(told).aws
    assert (settings.cluster_id, settings.own_identity, settings.endpoint_url) == ("prod", False, "http://local-aws:4566")
    mounted = one(made, "Deployment", "millrace")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert settings.prices_file.startswith(next(m["mountPath"] for m in mounted if m["name"] == "prices"))
    table = prices.parse(one(made, "ConfigMap", "millrace-prices")["data"]["prices.json"], "prices.json")
    assert str(table["us-east-1"]["sagemaker-training"]["ml.p5.48xlarge"]) == "60.50"


def test_only_one_namespace_is_read_and_only_by_the_cluster_role(render: Render) -> None:
    """Its uid names the cluster in external ids."""
    rules = one(render("millrace"), "ClusterRole", "millrace-system-millrace")["rules"]
    found = [r for r in rules if "namespaces" in r["resources"]]
    assert found == [{"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}]
