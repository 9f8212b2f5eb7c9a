"""S3 and SQS beside moto's server, with the same client on the same machine in the same run. Prints a table and JSON.

MOTO_PYTHON names the Python of an environment with `moto[server]`: its server needs Flask, which nothing else here does.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

SRC = Path(__file__).parents[1] / "src"
SECONDS = 1.5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(command: list[str], port: int) -> Iterator[tuple[str, float]]:
    """Its address, and the seconds until it listened."""
    start = time.monotonic()
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(SRC)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            assert process.poll() is None, command
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}", time.monotonic() - start
    finally:
        process.terminate()
        process.wait(20)


def rate(work: Callable[[int], Any], threads: int) -> float:
    """Calls a second."""
    end = time.monotonic() + SECONDS

    def loop(worker: int) -> int:
        count = 0
        while time.monotonic() < end:
            work(worker * 1_000_000 + count)
            count += 1
        return count

    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(loop, range(threads)))
    return total / (time.monotonic() - start)


def milliseconds(work: Callable[[], Any], times: int = 10) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append((time.perf_counter() - start) * 1000)
    return statistics.median(found)


def measure(address: str, depths: list[int]) -> dict[str, float]:
    def client(service: str) -> Any:
        options = {"aws_access_key_id": "123456789012", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=address, config=Config(max_pool_connections=20), **options)  # type: ignore[call-overload]

    s3, sqs, found = client("s3"), client("sqs"), {}
    s3.create_bucket(Bucket="bench")
    body = b"x" * 1024
    found["s3 put 1 KB, 1 client, req/s"] = rate(lambda n: s3.put_object(Bucket="bench", Key=f"k{n}", Body=body), 1)
    found["s3 put 1 KB, 16 threads, req/s"] = rate(lambda n: s3.put_object(Bucket="bench", Key=f"m{n}", Body=body), 16)
    s3.put_object(Bucket="bench", Key="one", Body=body)
    found["s3 get 1 KB, 1 client, req/s"] = rate(lambda n: s3.get_object(Bucket="bench", Key="one")["Body"].read(), 1)
    found["s3 get 1 KB, 16 threads, req/s"] = rate(lambda n: s3.get_object(Bucket="bench", Key="one")["Body"].read(), 16)
    for n in range(1000):
        s3.put_object(Bucket="bench", Key=f"list/{n}", Body=b"")
    found["s3 list 1000 keys, ms"] = milliseconds(lambda: s3.list_objects_v2(Bucket="bench", Prefix="list/"), 3)
    url = sqs.create_queue(QueueName="send")["QueueUrl"]
    found["sqs send, 1 client, req/s"] = rate(lambda n: sqs.send_message(QueueUrl=url, MessageBody="x"), 1)
    deep = sqs.create_queue(QueueName="deep")["QueueUrl"]
    filled = 0
    for depth in depths:
        while filled < depth:
            sqs.send_message_batch(QueueUrl=deep, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(10)])
            filled += 10

        def receive() -> None:
            sqs.receive_message(QueueUrl=deep, MaxNumberOfMessages=10)

        found[f"sqs receive 10 at depth {depth}, ms"] = milliseconds(receive, 5)
    return found


def main() -> None:
    port, other = free_port(), free_port()
    with tempfile.TemporaryDirectory() as data:
        ours = [sys.executable, "-m", "millrace_local_aws", "serve", "--port", str(port), "--data", data]
        with server(ours, port) as (address, seconds):
            mine = measure(address, [100, 1000, 10_000]) | {"start, s": seconds}
    with server([os.environ.get("MOTO_PYTHON", sys.executable), "-m", "moto.server", "-p", str(other)], other) as (
        address,
        seconds,
    ):
        theirs = measure(address, [100]) | {"start, s": seconds}
    print(f"{'':42}{'local-aws':>12}{'moto':>12}")
    for name, value in mine.items():
        print(f"{name:42}{value:12.1f}{theirs.get(name, float('nan')):12.1f}")
    print(json.dumps({"local-aws": mine, "moto": theirs}))


if __name__ == "__main__":
    main()
