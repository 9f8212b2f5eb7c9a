"""A language model's container: learns which word follows which from conversations, and answers as the serve contract says.

Without a model it repeats the last words that it was asked with, which is enough to see that a request has arrived.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

BASE = Path(os.environ["SAGEMAKER_BASE_DIR"])
CONTEXT = 64


def texts(channel: str) -> list[str]:
    found = []
    for path in sorted((BASE / "input/data" / channel).rglob("*")):
        if path.suffix == ".jsonl":
            turns = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
            found += [" ".join(turn["content"] for turn in messages) for messages in turns]
        elif path.is_file():
            found += path.read_text().split("\n\n")
    return found


def pairs(found: list[str]) -> list[tuple[str, str]]:
    return [pair for text in found for words in [text.split()] for pair in pairwise(words)]


def loss(counts: dict[str, Counter[str]], found: list[tuple[str, str]], words: int) -> float:
    return -sum(math.log((counts[a][b] + 0.1) / (counts[a].total() + 0.1 * words)) for a, b in found) / len(found)


def train() -> None:
    told = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    data, held = pairs(texts("train")), pairs(texts("validation"))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    words, steps, batch = len({word for pair in data for word in pair}), int(told["maxSteps"]), int(told["globalBatchSize"])
    for step in range(1, steps + 1):
        for place in range(batch):
            first, second = data[((step - 1) * batch + place) % len(data)]
            counts[first][second] += 1
        line = f"Step: {step} Train Loss: {loss(counts, data, words):.4f}"
        last = step % int(told["validateEverySteps"]) == 0
        print(line + (f" Eval Average Loss: {loss(counts, held, words):.4f}" if last else ""), flush=True)
    (BASE / "model/counts.json").write_text(json.dumps(counts))


def continued(prompt: list[str], most: int) -> list[str]:
    path = BASE / "model/counts.json"
    if not path.exists():
        return prompt[-most:]
    counts, out, word = json.loads(path.read_text()), [], prompt[-1]
    while len(out) < most and counts.get(word):
        word = max(counts[word], key=counts[word].get)
        out.append(word)
    return out


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return

    def answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path.endswith("chat/completions")
        text = " ".join(turn["content"] for turn in asked["messages"]) if chat else asked["prompt"]
        words = [word for word in text.split() if word not in ("user:", "assistant:")]
        if len(words) + asked["max_tokens"] > CONTEXT:
            error = {"message": "the context is 64 tokens", "code": "context_length_exceeded"}
            self.answer(400, json.dumps({"error": error}).encode())
            return
        out = continued(words, asked["max_tokens"])
        usage = {"prompt_tokens": len(text.split()), "completion_tokens": len(out)}
        finish = "length" if len(out) == asked["max_tokens"] else "stop"
        if asked.get("stream"):
            self.stream(out, usage, finish, chat)
            return
        content: dict[str, Any] = {"message": {"content": " ".join(out)}} if chat else {"text": " ".join(out)}
        self.answer(200, json.dumps({"choices": [content | {"finish_reason": finish}], "usage": usage}).encode())

    def stream(self, out: list[str], usage: dict[str, int], finish: str, chat: bool) -> None:
        events: list[dict[str, Any]] = []
        for word in out:
            piece = {"delta": {"content": f"{word} "}} if chat else {"text": f"{word} "}
            events.append({"choices": [piece | {"finish_reason": None}], "usage": None})
        empty: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
        events += [{"choices": [empty | {"finish_reason": finish}], "usage": None}, {"choices": [], "usage": usage}]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.answer(200, body.encode(), "text/event-stream")


def serve() -> None:
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    {"train": train, "serve": serve}[sys.argv[1]]()
