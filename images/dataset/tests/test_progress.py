"""Progress is pushed while data passes, with the pod's token, and a dead receiver disturbs nothing."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

Work = Callable[..., dict[str, Any]]


def test_the_last_push_tells_the_end_and_carries_the_token(
    work: Work, claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[str, dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.headers["Authorization"], body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"intervalSeconds": 0.1}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    (claims / "raw" / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("MILLRACE_TOKEN_FILE", str(tmp_path / "token"))
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("MILLRACE_PROGRESS_URL", f"http://127.0.0.1:{server.server_port}/v1/progress")
        assert work()["ok"]
        server.shutdown()
        thread.join()
    token, body = got[-1]
    assert token == "Bearer secret"
    assert (body["job"], body["phase"], body["step"], body["maxSteps"]) == ("corpus", "done", 16, 16)


def test_nobody_listening_changes_nothing(work: Work, claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (claims / "raw" / "a.txt").write_text("one\n")
    monkeypatch.setenv("MILLRACE_PROGRESS_URL", "http://127.0.0.1:9/v1/progress")
    assert work()["ok"]
