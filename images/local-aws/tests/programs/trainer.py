"""A container's program under SageMaker's contract: learns a straight line from rows of CSV, and serves it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

BASE = Path(os.environ["SAGEMAKER_BASE_DIR"])


def rows() -> list[tuple[float, float]]:
    found = []
    for path in sorted((BASE / "input/data/train").rglob("*.csv")):
        found += [tuple(float(cell) for cell in line.split(",")) for line in path.read_text().split()]
    return found  # type: ignore[return-value]


def train() -> None:
    hyperparameters = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    channels = json.loads((BASE / "input/config/inputdataconfig.json").read_text())
    hosts = json.loads((BASE / "input/config/resourceconfig.json").read_text())["hosts"]
    print(f"channels={sorted(channels)} hosts={hosts} job={os.environ['TRAINING_JOB_NAME']}", flush=True)
    if "fail" in hyperparameters:
        (BASE / "output/failure").write_text(hyperparameters["fail"])
        sys.exit(3)
    checkpoint = BASE / "checkpoints/state.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "slope": 0.0, "resumed": 0}
    state["resumed"] += state["step"] > 0
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    data, steps = rows(), int(hyperparameters["steps"])
    while state["step"] < steps and not stopping.is_set():
        gradient = sum((state["slope"] * x - y) * x for x, y in data) / len(data)
        state["slope"] -= 0.05 * gradient
        state["step"] += 1
        loss = sum((state["slope"] * x - y) ** 2 for x, y in data) / len(data)
        print(f"step={state['step']} loss={loss:.6f}", flush=True)
        checkpoint.write_text(json.dumps(state))
        time.sleep(float(hyperparameters.get("pause", "0")))
    (BASE / "model/slope.json").write_text(json.dumps(state))
    (BASE / "output/data/report.txt").write_text("stopped" if stopping.is_set() else "done")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    slope = 0.0

    def log_message(self, *_: object) -> None:
        return

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = json.loads(body)
        if "x" not in request:
            self.answer(400, b"there is no x")
        elif request.get("stream"):
            self.stream(request["x"])
        else:
            self.answer(200, json.dumps({"y": self.slope * request["x"]}).encode())

    def stream(self, count: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            piece = f"token-{number} ".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.05)
        self.wfile.write(b"0\r\n\r\n")


def serve() -> None:
    if os.environ.get("REFUSE"):
        print("I will not serve", flush=True)
        sys.exit(1)
    if "LEAVE_A_CHILD" in os.environ:
        subprocess.Popen(["sleep", os.environ["LEAVE_A_CHILD"]], start_new_session=True)
    Handler.slope = json.loads((BASE / "model/slope.json").read_text())["slope"]
    ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Handler).serve_forever()


if __name__ == "__main__":
    {"train": train, "serve": serve}[sys.argv[1]]()
