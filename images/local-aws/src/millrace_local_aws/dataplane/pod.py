"""What runs beside the user's container in a pod of the data plane: `prepare`, `collect` and `model`.

It speaks to local AWS alone: S3 for the files, and the admin API to learn that the container has ended or is to stop.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millrace_local_aws.admin.client import Admin
from millrace_local_aws.dataplane import contract
from millrace_local_aws.dataplane.manifests import MARK
from millrace_local_aws.dataplane.runner import Channel, TrainingTask

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
ANSWER_SECONDS = 5.0  # the network of a pod that was killed is gone with it: nobody closes its connections
RESTORED = ".restored.json"


class Pod:
    """One pod's view: its task, its volume, its clients."""

    def __init__(self, task: dict[str, Any], endpoint_url: str, root: Path) -> None:
        import boto3

        self.task, self.root = task, root
        self.admin = Admin(endpoint_url, ANSWER_SECONDS)
        self.s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=task["region"],
            aws_access_key_id=task["account"],
            aws_secret_access_key="local",
        )
        self.seen: dict[str, tuple[int, int]] = {}

    # Before

    def prepare(self) -> None:
        """Folders, configuration, channels, and checkpoints of an earlier attempt."""
        contract.lay_out(self.root, _typed(self.task))
        for channel in self.task["channels"]:
            self._fetch(channel["bucket"], channel["prefix"], self.root / "input/data" / channel["name"])
        if self.task["checkpoints"]:
            bucket, prefix, _ = self.task["checkpoints"]
            self._fetch(bucket, f"{prefix}/" if prefix else "", self.root / "checkpoints")
        # What was restored need not go back; the container may write before the other of ours looks.
        restored: dict[str, tuple[int, int]] = {}
        list(contract.changed(self.root / "checkpoints", restored))
        (self.root / RESTORED).write_text(json.dumps(restored))

    def model(self) -> None:
        """The model's archive, unpacked, or its files."""
        folder = self.root / "model"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.task["model"]:
            return
        bucket, key = self.task["model"]
        if key.endswith((".tar.gz", ".tgz", ".tar")):
            archive = self.root / "model-archive"
            self.s3.download_file(bucket, key, str(archive))
            contract.unpack(archive, folder)
            archive.unlink()
        else:
            self._fetch(bucket, key, folder)

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from (entry["Key"] for entry in page.get("Contents", []))

    def _fetch(self, bucket: str, prefix: str, folder: Path) -> None:
        for key in self._keys(bucket, prefix):
            name = contract.below(prefix, key)
            if name and not key.endswith("/"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self.s3.download_file(bucket, key, str(target))

    # Beside and after

    def collect(self) -> None:
        """Until the container has ended: keep its checkpoints, hand signals on. Then store what it made, and say so."""
        sent, self.seen = "", self._restored()
        while True:
            told = self._ask("GET", "dataplane/task", {"task": self.task["id"]})
            if told["ended"]:
                break
            if told["signal"] and told["signal"] != sent:
                sent = told["signal"]
                signal_main(signal.Signals[sent])
            self.save_checkpoints()
            time.sleep(POLL_SECONDS)
        self.store()

    def _restored(self) -> dict[str, tuple[int, int]]:
        path = self.root / RESTORED
        marks = json.loads(path.read_text()) if path.exists() else {}
        return {name: (size, changed) for name, (size, changed) in marks.items()}

    def save_checkpoints(self) -> None:
        if not self.task["checkpoints"]:
            return
        bucket, prefix, _ = self.task["checkpoints"]
        for name, path in contract.changed(self.root / "checkpoints", self.seen):
            with contextlib.suppress(FileNotFoundError):
                self.s3.upload_file(str(path), bucket, f"{prefix}/{name}" if prefix else name)

    def store(self) -> None:
        self.save_checkpoints()
        bucket, prefix = self.task["output"]
        for folder, name in (("model", "model"), ("output/data", "output")):
            archive = self.root / f"{name}.tar.gz"
            if contract.pack(self.root / folder, archive):
                self.s3.upload_file(str(archive), bucket, f"{prefix}/output/{name}.tar.gz")
        self._ask("POST", "dataplane/stored", {"task": self.task["id"], "failure": contract.failure(self.root)})

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Again and again: local AWS may be restarting, and a trained model must not be lost for it."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.admin.call(method, path, body)
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(POLL_SECONDS)


def _typed(task: dict[str, Any]) -> TrainingTask:
    channels = tuple(Channel(**channel) for channel in task["channels"])
    return TrainingTask(**(task | {"channels": channels}))


def signal_main(which: signal.Signals) -> None:
    """To every process of the user's container: they share our process namespace and carry its mark."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}=1".encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), which)


def main() -> None:
    task = json.loads(os.environ["MILLRACE_TASK"])
    pod = Pod(task, os.environ["MILLRACE_LOCAL_AWS"], Path(os.environ["MILLRACE_ML"]))
    {"prepare": pod.prepare, "collect": pod.collect, "model": pod.model}[sys.argv[1]]()


if __name__ == "__main__":
    main()
