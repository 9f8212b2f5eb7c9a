"""A client that asks an endpoint again and again, in a pod of the cluster; standard library only, its source goes into the pod.

`python3 load.py METHOD URL BODY CONNECTIONS [PAUSE]` asks from so many connections, each kept open, with so many seconds between an
answer and the next request (none by default), and never tries anything twice. It counts from the first answer on: until its node has heard of a Service that is just being made, nothing can come of asking. What came of it
is told on port 8000 as JSON: requests, failures (the first ten in words), and how often each answer came.
"""

from __future__ import annotations

import collections
import http.client
import http.server
import json
import sys
import threading
import time
import urllib.parse

SHOWN = 200


class Tally:
    """What came of the requests so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requests = 0
        self.failures: list[str] = []
        self.failed = 0
        self.answers: collections.Counter[str] = collections.Counter()
        self.seconds: list[float] = []

    def answered(self, answer: str, seconds: float) -> None:
        """One request was answered with status 200."""
        with self.lock:
            self.requests += 1
            self.answers[answer[:SHOWN]] += 1
            self.seconds.append(seconds)

    def broken(self, why: str) -> None:
        """One request was not."""
        with self.lock:
            if not self.answers:
                return
            self.requests += 1
            self.failed += 1
            self.failures = [*self.failures, why][:10]

    def told(self) -> bytes:
        """All of it, as JSON; latencies in seconds."""
        with self.lock:
            times = sorted(self.seconds)
            quantiles = {f"p{q}": times[min(len(times) - 1, len(times) * q // 100)] for q in (50, 99)} if times else {}
            made = {
                "requests": self.requests,
                "failed": self.failed,
                "failures": self.failures,
                "answers": dict(self.answers.most_common(20)),
                **quantiles,
            }
            return json.dumps(made).encode()


def ask(method: str, url: str, body: str, pause: float, tally: Tally) -> None:
    """Ask for ever over one connection, a new one where the server closed it after an answer."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    while True:
        begun = time.monotonic()
        try:
            connection.request(method, parts.path or "/", body or None, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            tally.broken(f"{type(error).__name__}: {error}")
            connection.close()
            time.sleep(0.1)
            continue
        if answer.status == 200:
            tally.answered(text, time.monotonic() - begun)
        else:
            tally.broken(f"status {answer.status}: {text[:SHOWN]}")
        time.sleep(pause)


def main() -> None:
    """Ask, and tell whoever asks."""
    method, url, body, connections, pause = [*sys.argv[1:5], *(sys.argv[5:] or ["0"])]
    tally = Tally()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = tally.told()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing to tell."""

    for _ in range(int(connections)):
        threading.Thread(target=ask, args=(method, url, body, float(pause), tally), daemon=True).start()
    http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()


if __name__ == "__main__":
    main()
