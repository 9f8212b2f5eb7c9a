"""What the operator may do follows from what the kinds declare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millrace.cli.generators.rbac import LEASE, merged, roles
from millrace.engine import runtime
from millrace.engine.controller import Controller, Rule


def allowed(rules: list[dict[str, Any]], group: str, resource: str) -> set[str]:
    return {v for r in rules if group in r["apiGroups"] and resource in r["resources"] for v in r["verbs"]}


def test_children_may_be_made_watched_and_deleted(toy: Controller) -> None:
    made = roles([toy])["namespaced"]
    assert allowed(made, "", "services") == {"create", "delete", "get", "list", "patch", "watch"}


def test_a_declared_rule_is_joined_with_what_the_children_need(toy: Controller) -> None:
    made = roles([toy])["namespaced"]
    assert allowed(made, "batch", "jobs") == {"create", "delete", "deletecollection", "get", "list", "patch", "watch"}
    assert allowed(made, "", "configmaps") == {"get"}


def test_the_operator_never_makes_or_deletes_its_own_kinds(toy: Controller) -> None:
    made = roles([toy])["namespaced"]
    assert allowed(made, "millrace.dev", "toys") == {"get", "list", "patch", "watch"}
    assert allowed(made, "millrace.dev", "toys/status") == {"patch"}
    assert allowed(made, "millrace.dev", "toys/finalizers") == {"update"}


def test_what_is_cluster_scoped_is_kept_apart(toy: Controller) -> None:
    made = roles([toy])
    assert allowed(made["cluster"], "storage.k8s.io", "storageclasses") == {"get"}
    assert allowed(made["cluster"], "authentication.k8s.io", "tokenreviews") == {"create"}
    assert not allowed(made["namespaced"], "storage.k8s.io", "storageclasses")


def test_nodes_are_watched_only_for_a_kind_that_reacts_to_them(toy: Controller) -> None:
    assert not allowed(roles([toy])["cluster"], "", "nodes")
    assert allowed(roles([replace(toy, watches_nodes=True)])["cluster"], "", "nodes") == {"list", "watch"}


def test_the_lease_that_may_be_written_is_the_one_that_the_runtime_uses(toy: Controller) -> None:
    named = [r for r in roles([toy])["own"] if r.get("resourceNames")]
    assert [r["resourceNames"] for r in named] == [[LEASE]]
    assert runtime.LEASE == LEASE


def test_users_who_edit_may_not_write_status(toy: Controller) -> None:
    made = roles([toy])
    assert allowed(made["edit"], "millrace.dev", "toys") == {"create", "delete", "patch", "update"}
    assert not allowed(made["edit"], "millrace.dev", "toys/status")
    assert allowed(made["view"], "millrace.dev", "toys") == {"get", "list", "watch"}


def test_no_role_has_a_wildcard(toy: Controller) -> None:
    for name, rules in roles([toy]).items():
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name


def test_a_resource_is_named_once_however_often_it_is_declared() -> None:
    twice = [Rule("", ("pods",), ("get",)), Rule("", ("pods", "secrets"), ("list", "get"))]
    assert merged(twice) == [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}]
