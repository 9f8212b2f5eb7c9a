"""`millrace local` on the real machine: a cluster works, is continued, survives its nodes, and goes without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.local,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a local cluster needs root"),
    pytest.mark.xdist_group("local"),  # one cluster of that name at a time
]
NAME = "trace-test"
MOUNTPOINTS = ("/var/lib/kubelet", "/var/lib/cni", "/run/netns")
SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


@dataclass(frozen=True)
class Trace:
    """What of the machine a cluster could leave changed outside its own folders."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    packet_rules: tuple[str, ...]
    cgroups: frozenset[str]
    sysctls: tuple[str, ...]
    folders: tuple[str, ...]


def look() -> Trace:
    return Trace(
        mounts=frozenset(filter(may_be_a_clusters, Path("/proc/self/mountinfo").read_text().splitlines())),
        links=frozenset(os.listdir("/sys/class/net")),
        routes=frozenset(output("ip", "route").splitlines()),
        packet_rules=tuple(line for line in output("iptables-save").splitlines() if line.startswith("-A")),
        cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()),
        sysctls=tuple(Path(f"/proc/sys/{name}").read_text() for name in SYSCTLS),
        folders=tuple(path for path in MOUNTPOINTS if Path(path).exists()),
    )


def may_be_a_clusters(mount: str) -> bool:
    """Other mounts come and go while the test runs."""
    return any(word in mount for word in ("millrace", "overlay", "containerd", "netns", "/run", "/var/lib", "tunables"))


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Local:
    """The commands, with a state folder of this test's own and the machine's cache of builds."""

    state: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "MILLRACE_STATE": str(self.state)}

    @property
    def folder(self) -> Path:
        return self.state / "local" / NAME

    def argv(self, command: str) -> list[str]:
        return [sys.executable, "-m", "millrace.cli.local", *command.split(), "--name", NAME]

    def __call__(self, command: str, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.argv(command), env=self.environment, capture_output=True, text=True, timeout=800, check=False)
        assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
        return done

    def parts(self) -> dict[str, dict[str, object]]:
        done = subprocess.run(
            self.argv("status --json"), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return {part["name"]: part for part in json.loads(done.stdout)["parts"]}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        cache = Path(os.environ.get("MILLRACE_CACHE") or Path.home() / ".cache/millrace")
        argv = [str(cache / "bin/kubectl"), "--kubeconfig", str(self.folder / "kubeconfig"), *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def processes(self) -> list[str]:
        """Every process that was started for this cluster or inside one of its containers."""
        return [entry for entry in os.listdir("/proc") if entry.isdigit() and self._mine(Path("/proc", entry))]

    def _mine(self, process: Path) -> bool:
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
            inside = f"/millrace-{NAME}/" in (process / "cgroup").read_text()
            return inside or str(self.folder).encode() in (process / "environ").read_bytes()
        except OSError:
            return False


@pytest.fixture(autouse=True)
def _has_a_cluster() -> None:
    """These tests start clusters of their own."""


@pytest.fixture
def local() -> Iterator[Local]:
    with tempfile.TemporaryDirectory(prefix="millrace-") as state:  # pytest's own are too long for a socket's name
        local = Local(Path(state))
        yield local
        local("down")


def test_a_cluster_works_outlives_a_node_and_goes_without_a_trace(local: Local) -> None:
    before = look()
    local("up --simulate nvidia.com/gpu=4")
    _pods_work(local)
    _is_continued_as_it_is(local)
    _a_killed_node_is_noticed_and_comes_back_with_its_devices(local)

    local("down")

    assert local.processes() == []
    assert look() == before
    assert os.listdir(local.folder) == ["logs"]


def _pods_work(local: Local) -> None:
    local.kubectl("apply", "-f", "-", stdin=workload(local))
    local.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=180s")
    assert "hello from node-2" in local.kubectl("logs", "pod-2")
    assert local.kubectl("exec", "pod-1", "--", "ls", "/data").split() == ["node-1", "node-2"]
    assert "10." in local.kubectl("exec", "pod-1", "--", "nslookup", "kubernetes.default.svc.cluster.local")


def _is_continued_as_it_is(local: Local) -> None:
    pids = {name: part["pid"] for name, part in local.parts().items()}
    local("up")
    assert {name: part["pid"] for name, part in local.parts().items()} == pids
    assert local.processes()


def _a_killed_node_is_noticed_and_comes_back_with_its_devices(local: Local) -> None:
    local("node stop node-2")
    assert local.parts()["node-2"]["state"] == "Stopped"
    local.kubectl("wait", "--for=condition=Ready=Unknown", "node/node-2", "--timeout=180s")
    local("node start node-2")
    allocatable = local.kubectl("get", "node", "node-2", "-o", "jsonpath={.status.allocatable}")
    assert json.loads(allocatable)["nvidia.com/gpu"] == "4"
    local.kubectl("wait", "--for=condition=Ready", "pod/pod-2", "--timeout=180s")


def test_a_start_that_was_cut_off_is_cleaned_up(local: Local) -> None:
    before = look()
    _cut_off(local, "node-1")
    local("down")
    assert local.processes() == []
    assert look() == before


def test_a_start_that_is_cut_off_again_and_again_is_continued(local: Local) -> None:
    for at in ("etcd", "router", "node-2"):
        _cut_off(local, at)
    local("up")
    assert {part["state"] for part in local.parts().values()} == {"Running", "Ready"}


def _cut_off(local: Local, at: str) -> None:
    """Kill a start as soon as it has started a part."""
    starting = subprocess.Popen(local.argv("up"), env=local.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(f"{at} to be started", (local.folder / "pids" / f"{at}.json").exists, starting)
    starting.send_signal(signal.SIGKILL)
    starting.wait()


def until(what: str, probe: Callable[[], bool], starting: subprocess.Popen[bytes], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert starting.poll() is None, f"`local up` ended with {starting.returncode} before {what}"
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def workload(local: Local) -> str:
    """A claim that both nodes' pods write to, as users without rights, holding all simulated devices."""
    cache = Path(os.environ.get("MILLRACE_CACHE") or Path.home() / ".cache/millrace")
    images = json.loads((cache / "template/images.json").read_text())
    claim = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
"""
    return "---".join([claim, *(pod(number, images["localhost/millrace/busybox"]) for number in (1, 2))])


def pod(number: int, image: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: pod-{number}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: node-{number}}}
  securityContext: {{runAsUser: 65532, runAsNonRoot: true}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "echo hello from node-{number}; touch /data/node-{number}; sleep infinity"]
    resources: {{limits: {{nvidia.com/gpu: 4}}}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"""
