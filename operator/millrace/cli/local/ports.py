"""Says which process holds a port that the cluster needs, instead of letting a program die of it later."""

from __future__ import annotations

import os
from pathlib import Path

from millrace.cli.local.errors import LocalError

_LISTEN = "0A"


def check_port_free(port: int, wanted_by: str) -> None:
    inode = _listening_inode(port)
    if inode is None:
        return
    pid = _owner(inode)
    owner = f"process {pid} ({_command(pid)})" if pid else "a process of another container or user"
    fix = f"Stop it (kill {pid}) or" if pid else "Stop it or"
    raise LocalError(
        f"port {port}, which {wanted_by} needs, is held by {owner}",
        f"{fix} choose other ports by another cluster name: millrace local up --name NAME.",
    )


def _listening_inode(port: int) -> str | None:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _lines(table):
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                return fields[9]
    return None


def _lines(table: str) -> list[str]:
    try:
        return Path(table).read_text().splitlines()[1:]
    except FileNotFoundError:  # a machine without IPv6
        return []


def _owner(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if any(os.readlink(entry) == wanted for entry in Path(f"/proc/{pid}/fd").iterdir()):
                return int(pid)
        except OSError:  # it ended, or it is another user's
            continue
    return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended just now"
