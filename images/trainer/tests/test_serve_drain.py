"""SIGTERM under load: not ready at once, open while endpoints learn of it, and no request is ever cut."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serve_support import NAME, Running, eventually, make_model, serving, start

ANSWER = {"model": NAME, "prompt": "the water", "max_tokens": 24, "temperature": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model", context=16_384)


class Clients:
    """Threads that ask on kept connections until they are told that the server leaves, as a service's clients would."""

    def __init__(self, running: Running, count: int) -> None:
        self.running = running
        self.answered, self.closes, self.lost = 0, 0, []  # type: ignore[var-annotated]
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, stream: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        body = json.dumps({**ANSWER, "stream": stream})
        while not self.stop.is_set():
            try:
                connection.request("POST", "/v1/completions", body)
                answer = connection.getresponse()
                content = answer.read()
                whole = answer.status == 200 and (content.endswith(b"[DONE]\n\n") if stream else b"usage" in content)
                self.answered += whole
                self.lost += [] if whole else [content]
                self.closes += answer.getheader("Connection") == "close"
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(error)
                return
        connection.close()


@contextmanager
def clients(running: Running, count: int) -> Iterator[Clients]:
    made = Clients(running, count)
    try:
        yield made
    finally:
        made.join()


def test_no_request_is_lost_when_a_server_under_load_is_told_to_end(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path, MILLRACE_DRAIN_SECONDS="3") as running, clients(running, 6) as load:
        eventually(lambda: load.answered > 20)
        assert load.closes == 0
        running.terminate()
        eventually(lambda: running.get("/ready")[0] == 503, 2)
        assert json.loads(running.get("/ready")[1]) == {"status": "draining"}
        assert running.get("/health")[0] == 200
        before = load.answered
        eventually(lambda: load.answered > before + 10 and load.closes > 10)
        load.join()  # by now every endpoint slice has lost this pod
        assert load.lost == []
        assert running.process.wait(20) == 0, running.log.read_text()
        assert load.lost == []
        assert running.lines("ended")[0]["requests"] == 0


def test_a_long_stream_ends_in_full_after_the_door_was_closed(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path, MILLRACE_DRAIN_SECONDS="0") as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps({**ANSWER, "max_tokens": 3000, "seed": 1, "stream": True}))
        answer = connection.getresponse()
        assert answer.readline().startswith(b"data: ")
        running.terminate()
        eventually(lambda: running.get("/health")[0] == 0)
        assert running.process.poll() is None
        assert answer.read().endswith(b"data: [DONE]\n\n")
        assert running.process.wait(20) == 0, running.log.read_text()
        assert running.lines("request")[-1]["completion"] == 3000
        connection.close()


def test_a_server_with_nothing_to_do_ends_when_the_drain_is_over_idle_connections_or_not(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path, MILLRACE_DRAIN_SECONDS="0.5") as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(ANSWER))
        assert connection.getresponse().read()
        began = time.monotonic()
        running.terminate()
        assert running.process.wait(20) == 0
        assert 0.5 <= time.monotonic() - began < 5
        connection.close()


def test_the_grace_period_bounds_the_wait(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path, MILLRACE_DRAIN_SECONDS="0", MILLRACE_GRACE_SECONDS="2") as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps({**ANSWER, "max_tokens": 16_000, "seed": 1, "stream": True}))
        connection.getresponse().readline()
        began = time.monotonic()
        running.terminate()
        assert running.process.wait(20) == 0
        assert time.monotonic() - began < 5
        assert running.lines("cut")[0]["requests"] == 1
        connection.close()


def test_probes_are_answered_while_the_model_loads(folder: Path, tmp_path: Path) -> None:
    running = start(folder, tmp_path)
    try:
        eventually(lambda: running.get("/health")[0] == 200, 60)
        status, body = running.get("/ready")
        assert (status, json.loads(body)) == (503, {"status": "loading"})
        status, answer = running.post("/v1/completions", ANSWER)
        assert (status, answer["error"]["code"]) == (503, "loading")
        eventually(running.ready, 60)
    finally:
        running.process.kill()
        running.process.wait()
