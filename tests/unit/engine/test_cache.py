"""The cache never goes back in time, and children are found by their owner."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.engine.cache import Cache, Key, slim, version
from support import builders

Object = dict[str, Any]


def pod(name: str = "p", at: int = 1, uid: str = "u", owner: str = "o", **more: Any) -> Object:
    metadata = {
        "name": name,
        "namespace": "team-a",
        "uid": uid,
        "resourceVersion": str(at),
        "labels": {"millrace.dev/owner-uid": owner},
    }
    return {"metadata": metadata, **more}


KEY = Key("pods", "team-a", "p")

# held (version, uid), comes (version, uid), taken, reason
PUTS = [
    ((5, "u"), (6, "u"), True, "newer is taken"),
    ((5, "u"), (5, "u"), False, "the same again, as the watch's echo of our own write"),
    ((5, "u"), (4, "u"), False, "an older event must not overwrite what a write's answer told"),
    ((5, "u"), (9, "w"), True, "another object of that name took its place"),
    ((5, "u"), (3, "w"), False, "a late event of an object that was there before"),
]


@pytest.mark.parametrize(("held", "comes", "taken", "reason"), PUTS, ids=[p[-1] for p in PUTS])
def test_what_is_held_is_replaced_only_by_what_is_newer(
    held: tuple[int, str], comes: tuple[int, str], taken: bool, reason: str
) -> None:
    cache = Cache()
    cache.put("pods", pod(at=held[0], uid=held[1]))
    assert cache.put("pods", pod(at=comes[0], uid=comes[1])) is taken, reason
    kept = cache.get(KEY)
    assert kept is not None
    assert (version(kept), kept["metadata"]["uid"]) == (comes if taken else held)


def test_a_deletion_of_an_object_that_was_there_before_does_not_remove_its_successor() -> None:
    cache = Cache()
    cache.put("pods", pod(at=9, uid="new"))
    cache.remove("pods", pod(at=5, uid="old"))
    assert cache.get(KEY) is not None
    cache.remove("pods", pod(at=10, uid="new"))
    assert cache.get(KEY) is None
    assert cache.children("o") == []


def test_removing_what_is_not_there_is_no_error() -> None:
    cache = Cache()
    cache.remove("pods", pod())
    assert len(cache) == 0


def test_children_are_found_by_owner_and_sorted_by_name() -> None:
    cache = Cache()
    for name in ("b", "a", "c"):
        cache.put("pods", pod(name, uid=name))
    cache.put("jobs", pod("j", uid="j"))
    cache.put("pods", pod("x", uid="x", owner="somebody else"))
    assert [c["metadata"]["name"] for c in cache.children("o", "pods")] == ["a", "b", "c"]
    assert len(cache.children("o")) == 4
    assert cache.children("nobody") == []


def test_a_name_that_goes_over_to_another_owner_is_no_child_of_the_first_any_more() -> None:
    cache = Cache()
    cache.put("pods", pod(at=1, uid="u1", owner="first"))
    cache.put("pods", pod(at=2, uid="u2", owner="second"))
    assert cache.children("first") == []
    assert len(cache.children("second")) == 1
    cache.remove("pods", pod(at=3, uid="u2", owner="second"))
    assert cache.children("first") == []
    assert cache.children("second") == []


def test_an_object_without_our_label_has_no_owner() -> None:
    cache = Cache()
    node = builders.node()
    cache.put("nodes", {**node, "metadata": {**node["metadata"], "resourceVersion": "1"}})
    assert cache.get(Key("nodes", "", "node-1")) is not None
    assert list(cache.all("nodes"))
    assert not list(cache.all("pods"))


def test_a_listing_says_what_changed_and_what_is_gone() -> None:
    cache = Cache()
    for name, at in (("same", 1), ("changed", 2), ("gone", 3), ("made after the listing", 20)):
        cache.put("pods", pod(name, at, uid=name))
    cache.put("jobs", pod("of another kind", 1, uid="j"))
    listed = [pod("same", 1, uid="same"), pod("changed", 9, uid="changed"), pod("new", 10, uid="new")]
    changed, gone = cache.replace("pods", listed, listed_at=10)
    assert [o["metadata"]["name"] for o in changed] == ["changed", "new"]
    assert [o["metadata"]["name"] for o in gone] == ["gone"]
    held = {o["metadata"]["name"] for o in cache.children("o")}
    assert held == {"same", "changed", "new", "made after the listing", "of another kind"}


def test_a_listing_that_is_older_than_what_is_held_changes_nothing() -> None:
    cache = Cache()
    cache.put("pods", pod(at=9))
    assert cache.replace("pods", [pod(at=4)], listed_at=5) == ([], [])
    kept = cache.get(KEY)
    assert kept is not None
    assert version(kept) == 9


def test_what_nobody_reads_is_not_kept_and_the_object_that_came_is_not_touched() -> None:
    full = pod()
    full["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    full["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"}
    kept = slim(full)
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"team": "a"}
    assert full["metadata"]["managedFields"], "the caller's object stays whole"
    assert "kubectl.kubernetes.io/last-applied-configuration" in full["metadata"]["annotations"]
