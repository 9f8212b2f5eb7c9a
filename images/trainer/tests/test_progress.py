"""The progress library as a foreign script would use it."""

import io
import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from trainer_support import wait_for

from millrace_trainer.progress import Progress


class Receiver:
    """The operator's end: keeps what was pushed and answers with `status` and `interval`."""

    def __init__(self) -> None:
        self.status, self.interval, self.delay = 200, 0.2, 0.0
        self.got: list[tuple[float, str | None, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.append((time.monotonic(), self.headers["Authorization"], body))
                time.sleep(receiver.delay)
                self.send_response(receiver.status)
                self.end_headers()
                self.wfile.write(json.dumps({"intervalSeconds": receiver.interval}).encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1/progress"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture
def env(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("millrace_trainer.progress.DEFAULT_INTERVAL_SECONDS", 0.2)
    (tmp_path / "token").write_text("first\n")
    return {
        "MILLRACE_JOB": "job",
        "MILLRACE_NAMESPACE": "team",
        "MILLRACE_UID": "u-1",
        "MILLRACE_ATTEMPT": "3",
        "MILLRACE_OUTPUT_DIR": str(tmp_path),
        "MILLRACE_PROGRESS_URL": receiver.url,
        "MILLRACE_TOKEN_FILE": str(tmp_path / "token"),
        "RANK": "0",
    }


def test_two_lines_tell_the_operator_the_file_and_the_log(env: dict[str, str], receiver: Receiver) -> None:
    out = io.StringIO()
    progress = Progress.from_env(env, out)
    progress.step(120, 400, loss=3.25)
    progress.checkpoint(100, "step-00000100-a3", "2026-01-01T00:00:00Z")
    progress.close()
    _, token, body = receiver.got[-1]
    assert token == "Bearer first"
    assert (body["job"], body["attempt"], body["rank"], body["phase"]) == ("job", 3, 0, "done")
    assert (body["step"], body["maxSteps"], body["metrics"]) == (120, 400, {"loss": 3.25})
    assert body["checkpoint"]["step"] == 100
    assert body["heartbeatAt"].endswith("Z")
    assert json.loads((Path(env["MILLRACE_OUTPUT_DIR"]) / "progress.json").read_text()) == body
    lines = out.getvalue().splitlines()
    assert lines[0] == "Step: 120 Train Loss: 3.2500 Train Perplexity: 25.7903"
    assert json.loads(lines[-1]) == body


def test_numbers_that_are_not_finite_travel_as_words(env: dict[str, str], receiver: Receiver) -> None:
    progress = Progress.from_env(env, io.StringIO())
    progress.step(1, 2, loss=float("nan"), perplexity=float("inf"))
    progress.close()
    assert receiver.got[-1][2]["metrics"] == {"loss": "NaN", "perplexity": "Infinity"}


def test_other_ranks_only_tell_that_they_live(env: dict[str, str], receiver: Receiver) -> None:
    out = io.StringIO()
    progress = Progress.from_env({**env, "RANK": "1"}, out)
    progress.step(5, 10, loss=1.0)
    progress.close()
    body = receiver.got[-1][2]
    assert (body["rank"], body["step"], body["metrics"]) == (1, 5, {})
    assert out.getvalue() == ""
    assert not (Path(env["MILLRACE_OUTPUT_DIR"]) / "progress.json").exists()


def test_pushes_wait_as_long_as_the_receiver_asks(env: dict[str, str], receiver: Receiver) -> None:
    receiver.interval = 0.5
    progress = Progress.from_env(env, io.StringIO())
    for step in range(12):
        progress.step(step, 100)
        time.sleep(0.1)
    progress.flush()
    times = [at for at, _, _ in receiver.got]
    assert len(times) <= 4
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(times))


def test_the_token_is_read_anew_before_each_push(env: dict[str, str], receiver: Receiver) -> None:
    progress = Progress.from_env(env, io.StringIO())
    wait_for(lambda: len(receiver.got) >= 1)
    Path(env["MILLRACE_TOKEN_FILE"]).write_text("second")
    progress.close()
    assert (receiver.got[0][1], receiver.got[-1][1]) == ("Bearer first", "Bearer second")


@pytest.mark.parametrize("status", [401, 503])
def test_a_refusal_is_told_once_at_most_and_pushes_go_on(env: dict[str, str], receiver: Receiver, status: int) -> None:
    receiver.status, out = status, io.StringIO()
    progress = Progress.from_env(env, out)
    wait_for(lambda: len(receiver.got) >= 3)
    progress.close()
    assert out.getvalue().count("refused") == (1 if status == 401 else 0)


def test_a_slow_or_absent_receiver_does_not_hold_up_training(env: dict[str, str], receiver: Receiver) -> None:
    receiver.delay = 1.0
    for url in (receiver.url, "http://127.0.0.1:9/v1/progress"):
        progress = Progress.from_env({**env, "MILLRACE_PROGRESS_URL": url}, io.StringIO())
        began = time.monotonic()
        for step in range(1000):
            progress.step(step, 1000, loss=1.0)
        assert time.monotonic() - began < 0.5
        progress.close("failed")


def test_a_script_that_fails_inside_with_is_told_as_failed(env: dict[str, str], receiver: Receiver) -> None:
    def script() -> None:
        with Progress.from_env(env, io.StringIO()):
            raise KeyError("lost")

    with pytest.raises(KeyError):
        script()
    assert receiver.got[-1][2]["phase"] == "failed"
    assert receiver.got[-1][2]["message"] == "KeyError: 'lost'"


def test_outside_a_pod_nothing_but_lines_happens() -> None:
    out = io.StringIO()
    with Progress.from_env({}, out) as progress:
        progress.step(1, 1, loss=0.0)
    assert out.getvalue().startswith("Step: 1 Train Loss: 0.0000")
