"""The two helpers of a serving pod, against a real HTTP server and real files."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.engine import progress
from millrace.podside import golden, model
from millrace.podside.files import tree_digest

Object = dict[str, Any]


class Server:
    """A model server that loads for a while and then says what it is told to say."""

    def __init__(self) -> None:
        self.loaded, self.status, self.answer, self.asked = True, 200, '{"text": "Paris"}', []  # type: ignore[var-annotated]
        self.pause = 0.0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(200 if outer.loaded else 503, "")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, json.loads(body)))
                time.sleep(outer.pause)
                self._say(outer.status, outer.answer)

            def _say(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def task(self, **expect: Any) -> Object:
        request = {"method": "POST", "path": "/v1/completions", "body": {"prompt": "The capital of France is"}}
        expected = {"status": 200, "contains": None, "matches": None, **expect}
        port = self.http.server_address[1]
        return {"port": port, "gatePort": 0, "readyPath": "/ready", "request": request, "expect": expected, "timeoutSeconds": 5}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


# what is expected, status, answer, words of the problem (None: there is none), reason
ANSWERS: list[tuple[Object, int, str, str | None, str]] = [
    ({}, 200, "anything", None, "a status is enough where nothing else is expected"),
    ({"contains": "Paris"}, 200, '{"text": "Paris"}', None, "the text is there"),
    ({"contains": "Paris"}, 200, '{"text": "Rome"}', "contains 'Paris'; the answer was 200: {\"text\": \"Rome\"}", "it is not"),
    ({"matches": "P[a-z]+s"}, 200, "Paris", None, "the pattern is found"),
    ({"matches": "^Rome$"}, 200, "Paris", "matches '^Rome$'", "the pattern is not found"),
    ({"matches": "("}, 200, "(", "matches '('", "what is no pattern matches nothing"),
    ({}, 500, "CUDA error", "by status 200; the answer was 500: CUDA error", "the server is broken"),
    ({"status": 400}, 400, "no", None, "a refusal may be what is expected"),
    ({"contains": "z"}, 200, "a" * 5000, "a" * 600 + "…", "a long answer is shortened"),
]  # fmt: skip


@pytest.mark.parametrize(("expect", "status", "answer", "problem", "reason"), ANSWERS, ids=[a[-1] for a in ANSWERS])
def test_an_answer_is_judged(server: Server, expect: Object, status: int, answer: str, problem: str | None, reason: str) -> None:
    server.status, server.answer = status, answer
    found = golden.ask(server.task(**expect)).problem
    assert (found is None) is (problem is None), reason
    assert (problem or "") in (found or ""), reason
    assert server.asked == [("/v1/completions", {"prompt": "The capital of France is"})]


def test_a_server_that_does_not_answer_is_told_of() -> None:
    gone = Server()
    task = gone.task()
    gone.http.shutdown()
    gone.http.server_close()
    assert "POST /v1/completions got no answer" in (golden.ask(task).problem or "")


# answer, tokens, reason
COUNTED: list[tuple[str, int | None, str]] = [
    ('{"choices": [{"text": "Paris"}], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}', 3, "as OpenAI tells it"),
    ('[{"generated_text": "Paris", "details": {"generated_tokens": 4, "tokens": []}}]', 4, "as TGI tells it, where it is asked to"),
    ('{"generated_text": "Paris", "details": {"generated_tokens": 4}}', 4, "not every server puts its one answer into a list"),
    ('[{"details": {"generated_tokens": 4}}, {"details": {"generated_tokens": 2}}]', 6, "several answers are counted together"),
    ('[{"details": {"generated_tokens": 4}}, {"generated_text": "Rome"}]', None, "one that tells no number makes the sum unknown"),
    ('[{"generated_text": "Paris is the capital"}]', None, "words are not tokens: without a number there is none"),
    ('{"usage": null, "details": {"generated_tokens": "4"}}', None, "a text is no number"),
    ('{"usage": {"completion_tokens": true}}', None, "neither is true"),
    ("[]", None, "no answer at all"),
    ("Paris", None, "no JSON"),
    ('"Paris"', None, "JSON without fields"),
]  # fmt: skip


@pytest.mark.proves("08.13")
@pytest.mark.parametrize(("answer", "tokens", "reason"), COUNTED, ids=[c[-1] for c in COUNTED])
def test_tokens_are_those_that_the_answer_tells(server: Server, answer: str, tokens: int | None, reason: str) -> None:
    server.answer = answer
    assert golden.ask(server.task()).tokens == tokens, reason


def test_the_time_is_that_of_the_whole_request(server: Server) -> None:
    server.pause = 0.3
    assert 0.3 <= golden.ask(server.task()).seconds < 5


class Door:
    """The operator's door for pushes, which may be shut."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Object]] = []
        self.refuses, self.came = 0, threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.refuses, shut = outer.refuses - 1, outer.refuses > 0
                self.send_response(503 if shut else 200)
                self.end_headers()
                self.wfile.write(b"{}" if shut else b'{"intervalSeconds": 2}')
                if not shut:
                    outer.taken.append((self.headers["Authorization"], told))
                    outer.came.set()

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def told_by(self, tmp_path: Path) -> Object:
        (tmp_path / "token").write_text("secret\n")
        url = f"http://127.0.0.1:{self.http.server_address[1]}/v1/progress"
        return {"url": url, "tokenFile": str(tmp_path / "token"), "uid": "u", "revision": "abc"}


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.mark.proves("08.13")
def test_what_the_answer_took_is_told_as_soon_as_the_operator_takes_it(server: Server, door: Door, tmp_path: Path) -> None:
    server.answer, door.refuses = '{"usage": {"completion_tokens": 7}}', 1
    gate, stopped = golden.Gate(0), threading.Event()
    task = {**server.task(), "tell": door.told_by(tmp_path)}
    worker = threading.Thread(target=golden._guarded, args=(task, gate, stopped))
    worker.start()
    assert door.came.wait(20)
    assert _gate_says(gate.port) == 200, "the pod gets requests, whether or not anybody takes what it tells"
    stopped.set()
    worker.join(10)
    gate.close()
    ((token, told),) = door.taken
    assert (token, told["uid"], told["attempt"], told["phase"], told["message"]) == ("Bearer secret", "u", 0, "probed", "abc")
    assert told["metrics"]["tokens"] == 7
    assert progress.parse(told, None, 0.0).metrics["milliseconds"] >= 0, "it is what the door reads"


def test_an_answer_that_tells_no_tokens_is_told_of_without_them(door: Door, tmp_path: Path) -> None:
    assert golden.measured(door.told_by(tmp_path), golden.Asked(None, 0.25))["metrics"] == {"milliseconds": 250}


def _gate_says(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_gate_stays_shut_until_the_right_answer(server: Server) -> None:
    server.loaded = False
    gate, stopped, ended = golden.Gate(0), threading.Event(), []  # type: ignore[var-annotated]
    worker = threading.Thread(target=lambda: ended.append(golden._guarded(server.task(contains="Paris"), gate, stopped)))
    worker.start()
    time.sleep(1.2)
    assert (_gate_says(gate.port), server.asked) == (503, []), "a server that loads is not asked"
    server.loaded = True
    deadline = time.monotonic() + 10
    while _gate_says(gate.port) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _gate_says(gate.port) == 200
    stopped.set()
    worker.join(10)
    assert ended == [0]
    gate.close()


def test_the_wrong_answer_is_the_sidecars_last_word(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(tmp_path / "log"))
    server.answer = "Rome"
    assert golden.run(server.task(contains="Paris")) == 1
    said = json.loads((tmp_path / "log").read_text())
    assert (said["ok"], said["reason"]) == (False, "ProbeFailed")
    assert "Rome" in said["message"]


def run_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None = None) -> tuple[int, Object]:
    log = tmp_path / "log"
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(log))
    code = model.run({"path": str(folder), "digest": digest})
    return code, json.loads(log.read_text())


def test_the_files_that_were_asked_for_are_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w" * 1000)
    digest, files, size = tree_digest(folder)
    assert run_model(folder, tmp_path, monkeypatch, digest) == (
        0,
        {"schema": 1, "ok": True, "digest": digest, "files": files, "bytes": size},
    )
    assert run_model(folder, tmp_path, monkeypatch)[1]["digest"] == digest, "without a wish what is there is told"


def test_files_that_took_their_place_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"another")
    code, said = run_model(folder, tmp_path, monkeypatch, "sha256:" + "0" * 64)
    assert (code, said["reason"]) == (1, "ModelChanged")
    assert tree_digest(folder)[0] in said["message"]


# what is there, reason told, why
MISSING = [(None, "nothing is there"), ("file", "a file is no model"), ("folder", "the folder is empty")]


@pytest.mark.parametrize(("what", "why"), MISSING, ids=[m[-1] for m in MISSING])
def test_a_model_that_is_not_there_is_named(what: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    if what == "file":
        path.write_text("x")
    if what == "folder":
        path.mkdir()
    code, said = run_model(path, tmp_path, monkeypatch)
    assert (code, said["reason"]) == (1, "ModelMissing"), why
    assert str(path) in said["message"], why


def test_what_a_run_left_beside_its_model_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign program's model is its whole output; the record says what in there is not."""
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    (tmp_path / "out" / "weights").write_bytes(b"w")
    digest, _, _ = tree_digest(tmp_path / "out")
    (tmp_path / "out" / "checkpoints" / "latest.json").write_text("{}")
    (tmp_path / "out" / "progress.json").write_text("{}")
    (tmp_path / "out" / "run.json").write_text(json.dumps({"aside": ["checkpoints"]}))
    assert run_model(tmp_path / "out", tmp_path, monkeypatch, digest)[0] == 0
