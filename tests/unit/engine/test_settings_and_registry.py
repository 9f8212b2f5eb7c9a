"""Settings come from the environment or are refused by name; kinds are found by their folder."""

from __future__ import annotations

import pytest

from millrace.engine import registry
from millrace.engine.settings import Images, Settings, from_environment


def test_an_empty_environment_gives_the_defaults_and_the_address_of_our_own_service() -> None:
    made = from_environment({})
    assert made == Settings(identity=made.identity, progress_url="http://millrace-progress.millrace-system.svc:8090/v1/progress")


def test_every_variable_reaches_its_setting() -> None:
    made = from_environment(
        {
            "MILLRACE_NAMESPACE": "ops",
            "MILLRACE_WATCH_NAMESPACES": "team-a, team-b,",
            "MILLRACE_IMAGE_OPERATOR": "o:1",
            "MILLRACE_IMAGE_TRAINER": "t:1",
            "MILLRACE_IMAGE_DATASET": "d:1",
            "MILLRACE_WORKERS": "4",
            "MILLRACE_RESYNC_SECONDS": "60",
            "MILLRACE_PROGRESS_WRITES_PER_SECOND": "0.5",
            "MILLRACE_PROGRESS_INTERVAL_SECONDS": "7",
            "MILLRACE_HTTP_PORT": "0",
            "MILLRACE_PROGRESS_PORT": "9000",
            "MILLRACE_LEADER_ELECTION": "False",
            "MILLRACE_IDENTITY": "pod-1",
            "MILLRACE_LEASE_SECONDS": "30",
            "MILLRACE_LOG_LEVEL": "debug",
        }
    )
    assert made == Settings(
        namespace="ops",
        watch_namespaces=("team-a", "team-b"),
        images=Images("o:1", "t:1", "d:1"),
        workers=4,
        resync_seconds=60,
        progress_writes_per_second=0.5,
        progress_interval_seconds=7,
        http_port=0,
        progress_port=9000,
        progress_url="http://millrace-progress.ops.svc:9000/v1/progress",
        leader_election=False,
        identity="pod-1",
        lease_seconds=30,
        log_level="DEBUG",
    )


def test_an_empty_progress_address_means_that_nobody_pushes() -> None:
    assert from_environment({"MILLRACE_PROGRESS_URL": ""}).progress_url == ""


# variable, value, why
REFUSED = [
    ("MILLRACE_WORKERS", "many", "not a number"),
    ("MILLRACE_WORKERS", "0", "an operator without workers does nothing and looks healthy"),
    ("MILLRACE_WORKERS", "inf", "not a number of workers"),
    ("MILLRACE_PROGRESS_WRITES_PER_SECOND", "0", "it divides"),
    ("MILLRACE_PROGRESS_INTERVAL_SECONDS", "nan", "it is compared"),
    ("MILLRACE_RESYNC_SECONDS", "-5", "time does not run backwards"),
    ("MILLRACE_LEASE_SECONDS", "0", "a lease of no time is nobody's"),
]


@pytest.mark.parametrize(("name", "value", "why"), REFUSED, ids=[f"{r[0]}={r[1]}" for r in REFUSED])
def test_a_bad_value_is_refused_by_the_name_of_its_variable(name: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*{value}"):
        from_environment({name: value})


def test_both_kinds_are_found_by_entry_point_and_folder_sorted_by_name() -> None:
    names = [c.kind.name for c in registry.controllers()]
    assert names == sorted(names)
    assert {"Dataset", "TrainingJob"} <= set(names)


def test_no_two_kinds_share_a_plural_or_a_short_name() -> None:
    kinds = [c.kind for c in registry.controllers()]
    words = [w for k in kinds for w in {k.plural, k.singular, *k.short_names}]
    assert len(words) == len(set(words))


def test_a_package_that_does_not_exist_stops_the_start_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CONTROLLER_PACKAGES", "no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry.controllers()
