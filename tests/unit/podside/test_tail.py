"""The wrapper passes everything through, and the sidecar finds the metrics in what it left."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from millrace.podside import tail
from millrace.podside.tail import Metrics, Reader, body

Object = dict[str, Any]
WRAP = Path(tail.__file__).with_name("wrap.sh")
ENVIRONMENT = {"MILLRACE_UID": "u1", "MILLRACE_ATTEMPT": "2"}


def wrapped(folder: Path, script: str, **environment: str) -> subprocess.Popen[bytes]:
    command = ["sh", str(WRAP), str(folder), "sh", "-c", script]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment})


@pytest.mark.parametrize("code", [0, 1, 85, 127])
def test_the_exit_code_passes_through_and_the_output_is_in_both_places(tmp_path: Path, code: int) -> None:
    running = wrapped(tmp_path, f"echo out; echo err >&2; exit {code}")
    out, _ = running.communicate(timeout=30)
    assert running.returncode == code
    assert sorted(out.decode().splitlines()) == ["err", "out"]
    assert (tmp_path / "log").read_bytes() == out


def test_a_program_that_is_not_there_ends_as_a_shell_says_it(tmp_path: Path) -> None:
    done = subprocess.run(["sh", str(WRAP), str(tmp_path), "no-such-program"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 127
    assert b"no-such-program" in done.stdout


def test_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    command = ["sh", str(WRAP), str(tmp_path), "printf", "%s|", "a b", "$HOME", "*", ""]
    assert subprocess.run(command, capture_output=True, timeout=30, check=True).stdout == b"a b|$HOME|*||"


def test_sigterm_reaches_the_program_which_ends_in_its_own_time_with_its_own_code(tmp_path: Path) -> None:
    script = "trap 'echo saving; echo saved; exit 85' TERM; echo ready; while :; do sleep 0.1; done"
    running = wrapped(tmp_path, script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=30)
    assert (running.returncode, out) == (85, b"saving\nsaved\n")
    assert (tmp_path / "log").read_text() == "ready\nsaving\nsaved\n"


def test_a_program_killed_by_a_signal_ends_as_a_shell_says_it(tmp_path: Path) -> None:
    running = wrapped(tmp_path, "kill -9 $$")
    running.communicate(timeout=30)
    assert running.returncode == 128 + 9


def test_what_a_program_left_running_does_not_hide_its_end(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/left; exit 3"
    running = wrapped(tmp_path, script, MILLRACE_DRAIN_SECONDS="0.2")
    try:
        assert running.wait(timeout=30) == 3
    finally:
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)
        running.communicate(timeout=30)


# -- reading -------------------------------------------------------------------------------------------------------------


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def test_a_reader_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = Reader(path)
    assert reader.lines() == [], "the program has not begun"
    append(path, b"one\ntw")
    assert reader.lines() == ["one"]
    append(path, b"o\nthree\n")
    assert reader.lines() == ["two", "three"]
    assert reader.lines() == []


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    append(tmp_path / "log", b"loss \xff 1\n")
    assert Reader(tmp_path / "log").lines() == ["loss \ufffd 1"]


def test_a_file_that_has_grown_large_is_emptied_when_it_was_read_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_TRUNCATE_BYTES", 100)
    path = tmp_path / "log"
    reader = Reader(path)
    append(path, b"x" * 150 + b"\nbegun")
    assert len(reader.lines()) == 1
    assert path.stat().st_size == 0
    append(path, b" and ended\n")
    assert reader.lines() == ["begun and ended"]


def test_a_flood_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_READ_BYTES", 10)
    append(tmp_path / "log", b"abc\n" * 10)
    reader = Reader(tmp_path / "log")
    assert len(reader.lines()) == 2
    assert reader.behind
    rest = []
    while reader.behind:
        rest += reader.lines()
    assert len(rest) == 8


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_READ_BYTES", 10)
    append(tmp_path / "log", b"." * 95 + b"\nend\n")
    reader = Reader(tmp_path / "log")
    lines = reader.lines()
    while reader.behind:
        lines += reader.lines()
        assert len(reader._rest) < 10
    assert lines[-1] == "end"


# -- metrics -------------------------------------------------------------------------------------------------------------

# regex, line, value, why
LINES = [
    (r"loss=([0-9.]+)", "step 3 loss=1.25 lr=0.1", 1.25, "the first group is the number"),
    (r"[0-9]+\.[0-9]+", "2.5 s", 2.5, "without a group it is the whole match"),
    (r"loss=(\S+)", "loss=nan", float("nan"), "a number that is none"),
    (r"loss=(\S+)", "loss=abc", None, "not a number"),
    (r"loss=([0-9.]+)", "accuracy=1", None, "another line"),
    (r"loss(?:=([0-9.]+))?", "loss unknown", None, "a group that took no part"),
]


@pytest.mark.parametrize(("regex", "line", "value", "why"), LINES, ids=[row[-1] for row in LINES])
def test_a_metric_is_found_in_a_line(regex: str, line: str, value: float | None, why: str) -> None:
    metrics = Metrics([{"name": "loss", "regex": regex}])
    assert metrics.feed(line) is (value is not None), why
    assert metrics.values == ({} if value is None else {"loss": pytest.approx(value, nan_ok=True)})


def test_the_latest_value_counts() -> None:
    metrics = Metrics([{"name": "loss", "regex": r"loss=(\S+)"}])
    for line in ("loss=3", "nothing", "loss=2"):
        metrics.feed(line)
    assert metrics.values == {"loss": 2.0}


def test_what_is_no_regular_expression_costs_its_metric_and_not_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics([{"name": "bad", "regex": "("}, {"name": "loss", "regex": r"loss=(\S+)"}])
    metrics.feed("loss=2")
    assert metrics.values == {"loss": 2.0}
    assert "metric bad: '(' is not a regular expression" in capsys.readouterr().err


def pushed(environment: Object | None = None, **values: float) -> Object:
    metrics = Metrics([])
    metrics.values = values
    return body({**ENVIRONMENT, **(environment or {})}, metrics)


def test_a_push_is_that_of_the_contract() -> None:
    made = pushed(loss=1.5, step=7.0)
    assert made.pop("heartbeatAt").endswith("Z")
    assert made == {
        "schema": 1,
        "uid": "u1",
        "attempt": 2,
        "rank": 0,
        "phase": "training",
        "step": 7,
        "maxSteps": 0,
        "metrics": {"loss": "1.5"},
    }


def test_a_push_speaks_as_the_first_process_of_its_pod() -> None:
    assert pushed({"MILLRACE_NODE_RANK": "3", "MILLRACE_PROCS_PER_NODE": "8"})["rank"] == 24


@pytest.mark.parametrize("step", [float("nan"), float("inf"), -4.0])
def test_a_step_that_is_none_does_no_harm(step: float) -> None:
    assert pushed(step=step)["step"] == 0


def test_a_loss_that_is_no_number_is_sent_as_text() -> None:
    assert pushed(loss=float("nan"))["metrics"] == {"loss": "nan"}


# -- sending -------------------------------------------------------------------------------------------------------------


class Door(http.server.BaseHTTPRequestHandler):
    """Takes pushes; answers what `answers` says."""

    taken: list[Object]
    answer: bytes = b'{"intervalSeconds": 60}'
    came: threading.Event

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken.append({"token": self.headers["Authorization"], **json.loads(content)})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)
        self.came.set()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def door() -> Iterator[tuple[str, type[Door]]]:
    handler = type("OwnDoor", (Door,), {"taken": [], "came": threading.Event()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/progress", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\n")
    return path


def test_a_push_carries_the_token_and_gives_the_pause(door: tuple[str, type[Door]], token: Path) -> None:
    url, handler = door
    assert tail.push(url, str(token), {"step": 1}) == 60
    assert handler.taken == [{"token": "Bearer secret", "step": 1}]


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"null", b'{"intervalSeconds": null}'])
def test_an_answer_that_says_nothing_does_no_harm(door: tuple[str, type[Door]], token: Path, answer: bytes) -> None:
    url, handler = door
    handler.answer = answer
    assert tail.push(url, str(token), {}) is None


def test_nobody_at_the_door_or_no_token_does_no_harm(token: Path, tmp_path: Path) -> None:
    assert tail.push("http://127.0.0.1:9/", str(token), {}) is None
    assert tail.push("http://127.0.0.1:9/", str(tmp_path / "none"), {}) is None


def test_the_sidecar_pushes_reads_to_the_end_and_ends_when_it_is_asked(
    door: tuple[str, type[Door]], token: Path, tmp_path: Path
) -> None:
    url, handler = door
    log = tmp_path / "log"
    append(log, b"loss=3\n")
    task = {"log": str(log), "metrics": [{"name": "loss", "regex": r"loss=(\S+)"}]}
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "MILLRACE_TASK": json.dumps(task),
        "MILLRACE_PROGRESS_URL": url,
        "MILLRACE_TOKEN_FILE": str(token),
    }
    running = subprocess.Popen([sys.executable, "-m", "millrace.podside", "tail"], env=environment)
    try:
        assert handler.came.wait(30), "the first push did not come"
        append(log, b"loss=2\n")
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
    assert [p["metrics"]["loss"] for p in handler.taken] == ["3.0", "2.0"], "the last word is told, however soon it comes"
