"""Processes are known by more than their pid, and nothing of anybody else's is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.cli.local import cgroups, ports, processes, teardown, waiting
from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import Cluster, replace_text

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster("unit", 7, tmp_path / "state", tmp_path / "cache")


def test_a_started_process_is_found_and_ended(cluster: Cluster) -> None:
    pid = processes.spawn(cluster, "sleep", SLEEP)
    assert processes.running(cluster, "sleep") == pid
    soon(lambda: processes.marked(cluster) == [pid], "the new process carries the cluster's mark")
    processes.stop(cluster, "sleep")
    assert processes.running(cluster, "sleep") is None
    assert processes.recorded(cluster) == []
    soon(lambda: processes.start_time(pid) is None, "the process is gone")


def soon(check: Callable[[], bool], what: str) -> None:
    """A new process has its environment, and an ended one leaves the table, a moment later on a busy machine."""
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.02)


def test_a_pid_that_was_handed_out_again_is_never_killed(cluster: Cluster) -> None:
    other = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        record = {"pid": other.pid, "started": "1"}
        replace_text(cluster.state / "pids" / "sleep.json", json.dumps(record))
        assert processes.running(cluster, "sleep") is None
        processes.stop(cluster, "sleep")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_whose_record_was_lost_is_found_by_its_mark(cluster: Cluster) -> None:
    pid = processes.spawn(cluster, "sleep", SLEEP)
    (cluster.state / "pids" / "sleep.json").unlink()
    processes.wait_no_process(cluster)
    assert processes.start_time(pid) is None


def test_a_dead_process_is_explained_by_the_end_of_its_log(cluster: Cluster) -> None:
    processes.spawn(cluster, "broken", [sys.executable, "-c", "raise SystemExit('no flag --x')"])

    def probe() -> None:
        if processes.running(cluster, "broken"):
            raise waiting.NotYet("it runs")

    waiting.wait_for("it to end", probe, 30)
    with pytest.raises(LocalError, match="no flag --x"):
        processes.require_running(cluster, "broken")


def test_a_wait_that_ends_in_vain_says_for_what_and_what_was_seen() -> None:
    def probe() -> None:
        raise waiting.NotYet("it answers 503")

    with pytest.raises(LocalError, match=r"waited 0 s for the moon; last seen: it answers 503") as failed:
        waiting.wait_for("the moon", probe, 0, "Look up.")
    assert failed.value.fix == "Look up."


def test_a_port_in_use_is_refused_with_the_process_that_holds_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(LocalError) as refused:
            ports.check_port_free(port, "etcd")
    assert f"process {os.getpid()}" in refused.value.message
    assert f"kill {os.getpid()}" in refused.value.fix
    ports.check_port_free(port, "etcd")


def test_both_generations_of_control_groups_are_recognised(tmp_path: Path) -> None:
    first, second = tmp_path / "v1", tmp_path / "v2"
    for name in ("cpu", "memory", "unified"):
        (first / name).mkdir(parents=True)
    (first / "cpuacct").symlink_to(first / "cpu")
    second.mkdir()
    (second / "cgroup.controllers").touch()
    assert cgroups.hierarchies(first) == [first / "cpu", first / "memory"]
    assert cgroups.hierarchies(second) == [second]


def test_nothing_is_deleted_through_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(Path, "read_text", lambda _self: f"36 35 98:0 / {tmp_path}/data/below rw - ext4 /dev/x rw\n")
    with pytest.raises(LocalError, match="is a mount below"):
        teardown.remove_tree(tmp_path / "data")
    assert (tmp_path / "data").is_dir()
