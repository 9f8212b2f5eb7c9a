"""The sidecar that holds a serving pod back until its server has answered the golden request as expected.

Its own readiness is the gate: a pod gets requests only while all its containers are ready, whether or not the operator runs.
A wrong answer ends it with that answer as its last words; the kubelet starts it again, so that what passes by itself passes.
What the right one took is told to the operator, for the endpoint's status; nothing waits for that.
"""

from __future__ import annotations

import http.client
import http.server
import json
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from millrace.podside import generated
from millrace.podside.files import report
from millrace.podside.tail import push

Task = dict[str, Any]
_POLL_SECONDS = 0.5
_POLL_TIMEOUT_SECONDS = 5.0
_BODY_BYTES = 1024 * 1024
_SHOWN = 600
_TOLD_AGAIN = 600.0
"""Seconds until what an answer took is told again: the operator may have ended before it wrote it down."""


@dataclass(frozen=True)
class Asked:
    """What came of the golden request: what is wrong with the answer, if anything, and what it took."""

    problem: str | None
    seconds: float
    tokens: int | None = None


class Gate:
    """Answers the kubelet: 200 once opened, 503 before."""

    def __init__(self, port: int) -> None:
        self._open = threading.Event()
        gate = self._open

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if gate.is_set() else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The kubelet asks every few seconds: nothing to tell."""

        self._server = http.server.ThreadingHTTPServer(("", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def open(self) -> None:
        """From now on the pod may get requests."""
        self._open.set()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def run(task: Task) -> int:
    """0 when stopped after the right answer; 1 with {"ok": false, message} in the termination message after a wrong one.

    The task has port (the server's), gatePort, readyPath, request {method, path, body}, expect {status, contains, matches},
    timeoutSeconds and, where the operator takes pushes, tell {url, tokenFile, uid, revision}.
    """
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    gate = Gate(int(task["gatePort"]))
    try:
        return _guarded(task, gate, stopped)
    finally:
        gate.close()


def _guarded(task: Task, gate: Gate, stopped: threading.Event) -> int:
    if not wait_until_ready(task, stopped):
        return 0
    asked = ask(task)
    if asked.problem:
        report({"schema": 1, "ok": False, "reason": "ProbeFailed", "message": asked.problem})
        return 1
    sys.stdout.write("the golden request was answered as expected\n")
    sys.stdout.flush()
    gate.open()
    if where := task.get("tell"):
        tell(where, asked, stopped)
    stopped.wait()
    return 0


def tell(where: Task, asked: Asked, stopped: threading.Event) -> None:
    """Push what the answer took, soon again until the operator takes it, and now and then after that; until stopped."""
    pause, told = 1.0, measured(where, asked)
    while not stopped.is_set():
        taken = push(where["url"], where["tokenFile"], told) is not None
        pause = _TOLD_AGAIN if taken else min(2 * pause, _TOLD_AGAIN)
        stopped.wait(pause)


def measured(where: Task, asked: Asked) -> Task:
    """The push: a report without steps, by which revision's pod it is, with milliseconds and, where they were told, tokens."""
    took = {"milliseconds": round(1000 * asked.seconds), "tokens": asked.tokens}
    metrics = {name: value for name, value in took.items() if value is not None}
    return {
        "schema": 1,
        "uid": where["uid"],
        "attempt": 0,
        "rank": 0,
        "phase": "probed",
        "message": where["revision"],
        "metrics": metrics,
    }


def wait_until_ready(task: Task, stopped: threading.Event) -> bool:
    """Until the server says that it is ready; False when stopped before. How long loading may take is the kubelet's business."""
    while not stopped.is_set():
        try:
            if call(int(task["port"]), "GET", task["readyPath"], None, _POLL_TIMEOUT_SECONDS)[0] == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass
        stopped.wait(_POLL_SECONDS)
    return False


def ask(task: Task) -> Asked:
    """Ask the golden request once."""
    request, begun = task["request"], time.monotonic()
    asked = f"{request['method']} {request['path']}"
    try:
        status, body = call(int(task["port"]), request["method"], request["path"], request.get("body"), task["timeoutSeconds"])
    except (OSError, http.client.HTTPException) as error:
        seconds = time.monotonic() - begun
        return Asked(f"{asked} got no answer within {seconds:.0f} s: {error or type(error).__name__}", seconds)
    seconds, unmet = time.monotonic() - begun, unmet_expectation(task["expect"], status, body)
    problem = f"{asked} {unmet}; the answer was {status}: {shown(body)}" if unmet else None
    return Asked(problem, seconds, generated.tokens(body))


def unmet_expectation(expect: Task, status: int, body: str) -> str | None:
    """Which expectation an answer does not meet, if any."""
    if status != expect["status"]:
        return f"should be answered by status {expect['status']}"
    if (text := expect.get("contains")) and text not in body:
        return f"should be answered by something that contains {text!r}"
    if (pattern := expect.get("matches")) and not _found(pattern, body):
        return f"should be answered by something that matches {pattern!r}"
    return None


def _found(pattern: str, body: str) -> bool:
    """What is no regular expression is found nowhere, and the message shows it."""
    try:
        return re.search(pattern, body) is not None
    except re.error:
        return False


def shown(body: str) -> str:
    """An answer's body on one line, shortened."""
    line = " ".join(body.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def call(port: int, method: str, path: str, body: Task | None, timeout: float) -> tuple[int, str]:
    """Status and body (at most 1 MiB of it) of a request to the pod's own server. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(_BODY_BYTES).decode(errors="replace")
    finally:
        connection.close()
