"""Downloads from a real HTTP server that breaks in the ways servers do."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millrace_dataset.download import Patience, download
from millrace_dataset.problems import Problem
from millrace_dataset.request import parse_request

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTE = Patience(read_timeout=5, deadline=0.5, first_pause=0.05, longest_pause=0.1)


class Flaky(BaseHTTPRequestHandler):
    """/busy answers 503 twice, /cut closes in the middle until resumed, /gone is 404, /down is always 503."""

    calls: dict[str, int]

    def do_GET(self) -> None:
        self.calls[self.path] = self.calls.get(self.path, 0) + 1
        if self.path == "/gone":
            return self.send_error(404)
        if self.path == "/down" or (self.path == "/busy" and self.calls[self.path] <= 2):
            return self.send_error(503)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == "/cut" and not start else len(CONTENT)
        self.wfile.write(CONTENT[start:end])
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing: the test's output is for its own words."""


@pytest.fixture
def server() -> Iterator[str]:
    handler = type("Handler", (Flaky,), {"calls": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/fine", "/busy", "/cut"])
def test_a_download_survives_a_busy_or_breaking_server(server: str, tmp_path: Path, path: str) -> None:
    passed: list[int] = []
    download(server + path, SHA256, tmp_path / "f", passed.append, HASTE)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert sum(passed) == len(CONTENT)


@pytest.mark.parametrize(("path", "says"), [("/gone", "404"), ("/down", "no progress for")])
def test_a_download_gives_up_with_the_servers_words(server: str, tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(Problem, match=says) as caught:
        download(server + path, SHA256, tmp_path / "f", lambda _: None, HASTE)
    assert caught.value.reason == "DownloadFailed"


def test_other_content_is_a_checksum_mismatch_and_is_not_kept(server: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=SHA256) as caught:
        download(f"{server}/fine", "0" * 64, tmp_path / "f", lambda _: None, HASTE)
    assert caught.value.reason == "ChecksumMismatch"
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("https", "says"),
    [('{"url": "http://x/y", "sha256": ""}', "must start with https://"), ('{"url": "https://x/y"}', "64 hexadecimal")],
)
def test_an_unsafe_url_is_refused_before_any_request(https: str, says: str) -> None:
    with pytest.raises(Problem, match=says):
        parse_request(f'{{"source": {{"https": {https}}}, "format": "text", "publish": {{"path": "/x"}}}}')
