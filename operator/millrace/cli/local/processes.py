"""Detached processes that outlive the command that started them, and that are never mistaken for others.

A pid alone is not an identity: the kernel hands it out again. Each record carries the process' start time, and every process
carries the cluster's mark in its environment, so that `down` also finds one whose record a crash kept from being written.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.settings import Cluster, replace_text
from millrace.cli.local.waiting import NotYet, wait_for

MARK = "MILLRACE_LOCAL_STATE"
_GO = {"GOGC": "200"}
"""Go collects garbage when a heap has doubled. These heaps are small: that took an eighth of the API server's time."""


def start_time(pid: int) -> str | None:
    """When the kernel started the process, in its own ticks; None when it has ended (a zombie has ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def spawn(cluster: Cluster, name: str, argv: Sequence[str | Path]) -> int:
    """Starts a program in a session of its own, with its output in the cluster's log folder."""
    cluster.logs.mkdir(parents=True, exist_ok=True)
    log = os.open(cluster.logs / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        pid = os.posix_spawn(
            str(argv[0]),
            [str(part) for part in argv],
            {**_GO, **os.environ, MARK: str(cluster.state)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(log)
    replace_text(_record(cluster, name), json.dumps({"pid": pid, "started": start_time(pid)}))
    return pid


def running(cluster: Cluster, name: str) -> int | None:
    """The pid of the program started under that name, if it is that program and still runs."""
    try:
        record = json.loads(_record(cluster, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record["pid"] if record["started"] and _same(record["pid"], record["started"]) else None


def recorded(cluster: Cluster) -> list[str]:
    """The names of all programs that were started and not stopped."""
    return sorted(path.stem for path in (cluster.state / "pids").glob("*.json"))


def stop(cluster: Cluster, name: str, how: signal.Signals = signal.SIGTERM, seconds: float = 5) -> None:
    """Ends the program: as asked, and by SIGKILL when it has not ended in time."""
    pid = running(cluster, name)
    if pid is not None:
        end(pid, how, seconds)
    _record(cluster, name).unlink(missing_ok=True)


def end(pid: int, how: signal.Signals = signal.SIGKILL, seconds: float = 5) -> None:
    started = start_time(pid)
    for attempt in (how, signal.SIGKILL):
        if started is None or not _same(pid, started):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, attempt)
        if _gone_within(pid, started, seconds):
            return
    raise LocalError(f"process {pid} does not end, even by SIGKILL", f"Look at it: ps -o pid,stat,wchan,args -p {pid}")


def marked(cluster: Cluster) -> list[int]:
    """All processes of this machine that carry the cluster's mark, this one excepted."""
    mark = f"{MARK}={cluster.state}".encode()
    return [pid for pid in _all_pids() if pid != os.getpid() and mark in _environment(pid)]


def end_strays(cluster: Cluster) -> None:
    """Ends what a start that was cut off began and had no time to record; what a recorded process began is not that."""
    mine = marked(cluster)
    known = {running(cluster, name) for name in recorded(cluster)}
    for pid in mine:
        if pid not in known and parent(pid) not in mine:
            end(pid)


def parent(pid: int) -> int | None:
    """The process that a process belongs to; None when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid: int) -> list[int]:
    return [other for other in _all_pids() if parent(other) == pid]


def explain_death(cluster: Cluster, name: str) -> str:
    """The end of a program's log, for the message that it is not running."""
    try:
        lines = (cluster.logs / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return f"{name} has ended; its log closes with:\n" + "\n".join(lines[-12:])


def require_running(cluster: Cluster, name: str) -> None:
    if running(cluster, name) is None:
        raise LocalError(explain_death(cluster, name), f"Read {cluster.logs / name}.log, then `millrace local up` again.")


def _record(cluster: Cluster, name: str) -> Path:
    return cluster.state / "pids" / f"{name}.json"


def _same(pid: int, started: str) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # a child of this very command would stay a zombie
    return start_time(pid) == started


def _gone_within(pid: int, started: str, seconds: float) -> bool:
    def probe() -> None:
        if _same(pid, started):
            raise NotYet("it still runs")

    try:
        wait_for("a process to end", probe, seconds, every=0.02)
    except LocalError:
        return False
    return True


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def wait_no_process(cluster: Cluster, seconds: float = 10) -> None:
    """Kills everything that carries the mark until nothing does."""
    deadline = time.monotonic() + seconds
    while pids := marked(cluster):
        for pid in pids:
            end(pid)
        if time.monotonic() > deadline:
            raise LocalError(f"processes {pids} of cluster {cluster.name} do not end", "Run `millrace local down` again.")
