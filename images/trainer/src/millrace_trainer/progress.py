"""Progress for any training script, in two lines:

    p = Progress.from_env()
    p.step(step, max_steps, loss=loss)

Values go to the operator over HTTP, to `progress.json` beside the output, and to standard output. All of it happens in a
background thread and none of it can block or fail training: a lost push is replaced by the next, never queued.
Standard library only.
"""

import atexit
import json
import math
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from millrace_trainer.clock import now

DEFAULT_INTERVAL_SECONDS = 2.0
LEAST_INTERVAL_SECONDS = 0.2
PUSH_TIMEOUT_SECONDS = 5.0
LAST_PUSH_PATIENCE_SECONDS = 10.0
JSON_LINE_EVERY_SECONDS = 10.0
TEXT_LINE_EVERY_SECONDS = 1.0
TOLD_IN_WORDS = frozenset({"loss", "perplexity", "validation_loss", "validationPerplexity"})
DEFAULT_TOKEN_FILE = "/var/run/secrets/millrace/token"


def jsonable(value: float) -> float | str:
    """A metric as JSON can carry it: NaN and the infinities become the strings the contract names."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


class Progress:
    """The last known state of one rank, and the thread that tells it."""

    def __init__(self, environ: Mapping[str, str], out: TextIO | None = None) -> None:
        self._env = environ
        self._out = out or sys.stdout
        self.rank = int(environ.get("RANK") or environ.get("MILLRACE_NODE_RANK") or 0)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._interval = DEFAULT_INTERVAL_SECONDS
        self._pushed_at = -math.inf
        self._line_at = {"json": -math.inf, "text": -math.inf}
        self._stepped: tuple[int, float] | None = None
        self._complained: set[str] = set()
        self._state: dict[str, Any] = {
            "schema": 1,
            "job": environ.get("MILLRACE_JOB", ""),
            "namespace": environ.get("MILLRACE_NAMESPACE", ""),
            "uid": environ.get("MILLRACE_UID", ""),
            "attempt": int(environ.get("MILLRACE_ATTEMPT") or 1),
            "rank": self.rank,
            "phase": "starting",
            "step": 0,
            "maxSteps": 0,
            "metrics": {},
            "tokensPerSecond": None,
            "stepSeconds": None,
            "checkpoint": None,
            "message": None,
        }
        self._thread = threading.Thread(target=self._run, name="millrace-progress", daemon=True)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, out: TextIO | None = None) -> Self:
        """Start telling progress as the pod's environment says; outside a pod only lines are printed."""
        progress = cls(os.environ if environ is None else environ, out)
        progress._thread.start()
        atexit.register(progress.flush)
        return progress

    def step(self, step: int, max_steps: int, *, tokens_per_second: float | None = None, **metrics: float) -> None:
        """Say that `step` of `max_steps` is done; metrics (loss=…, perplexity=…) are told by rank 0 only."""
        shown = {name: float(value) for name, value in metrics.items()} if self.rank == 0 else {}
        with self._lock:
            self._state["phase"] = "training"
            self._state["step"], self._state["maxSteps"] = step, max_steps
            self._state["metrics"].update({name: jsonable(value) for name, value in shown.items()})
            if tokens_per_second is not None and self.rank == 0:
                self._state["tokensPerSecond"] = round(tokens_per_second, 1)
            self._time_step(step)
        if shown:
            self._text_line(step, shown, step == max_steps)

    def phase(self, phase: str, message: str | None = None) -> None:
        """Say what goes on: starting, training, checkpointing, exporting, done or failed."""
        with self._lock:
            self._state["phase"], self._state["message"] = phase, message

    def checkpoint(self, step: int, path: str, committed_at: str) -> None:
        """Say that a checkpoint was committed."""
        with self._lock:
            self._state["checkpoint"] = {"step": step, "path": path, "committedAt": committed_at}

    def close(self, phase: str = "done", message: str | None = None) -> None:
        """Say how it ended and wait, some seconds at most, until that was told."""
        self.phase(phase, message)
        self.flush()

    def flush(self) -> None:
        """Stop the thread after one last telling of the present state."""
        atexit.unregister(self.flush)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LAST_PUSH_PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.close("failed", f"{type(error).__name__}: {error}"[:500])

    def _time_step(self, step: int) -> None:
        at = time.monotonic()
        if self._stepped is None or step < self._stepped[0]:
            self._stepped = (step, at)
        elif step > self._stepped[0]:
            seconds = (at - self._stepped[1]) / (step - self._stepped[0])
            before = self._state["stepSeconds"]
            self._state["stepSeconds"] = round(seconds if before is None else 0.8 * before + 0.2 * seconds, 6)
            self._stepped = (step, at)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._tell()
        # The receiver's interval holds for the last value too, but a pod that must go does not wait for long.
        time.sleep(min(max(0.0, self._pushed_at + self._interval - time.monotonic()), DEFAULT_INTERVAL_SECONDS))
        self._tell(last=True)

    def _tell(self, last: bool = False) -> None:
        with self._lock:
            body = {**self._state, "metrics": dict(self._state["metrics"]), "heartbeatAt": now()}
        if self.rank == 0:
            self._write_file(body)
            self._json_line(body, last)
        self._push(body)

    def _push(self, body: Mapping[str, Any]) -> None:
        url = self._env.get("MILLRACE_PROGRESS_URL")
        if not url:
            return
        self._pushed_at = time.monotonic()
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), self._headers())
            with urllib.request.urlopen(request, timeout=PUSH_TIMEOUT_SECONDS) as reply:
                self._interval = max(LEAST_INTERVAL_SECONDS, float(json.load(reply)["intervalSeconds"]))
        except urllib.error.HTTPError as error:
            with error:
                if 400 <= error.code < 500:
                    self._complain(f"status {error.code}", f"progress is refused with status {error.code}")
        except Exception as error:  # nothing that goes wrong here may reach training
            self._complain(type(error).__name__, f"progress is not delivered for now: {error}")

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        token = Path(self._env.get("MILLRACE_TOKEN_FILE") or DEFAULT_TOKEN_FILE)
        if token.is_file():  # read anew each time: the kubelet rotates it
            headers["Authorization"] = f"Bearer {token.read_text(encoding='utf-8').strip()}"
        return headers

    def _write_file(self, body: Mapping[str, Any]) -> None:
        folder = self._env.get("MILLRACE_OUTPUT_DIR")
        if not folder:
            return
        path = Path(folder) / "progress.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(body, indent=1), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            self._complain("file", f"{path} cannot be written: {error.strerror}")

    def _json_line(self, body: Mapping[str, Any], last: bool) -> None:
        if last or self._due("json", JSON_LINE_EVERY_SECONDS):
            self._print(json.dumps(body))

    def _text_line(self, step: int, metrics: Mapping[str, float], last: bool) -> None:
        if not (last or "validation_loss" in metrics or self._due("text", TEXT_LINE_EVERY_SECONDS)):
            return
        words = [f"Step: {step}"]
        if "loss" in metrics:
            words.append(f"Train Loss: {metrics['loss']:.4f}")
            words.append(f"Train Perplexity: {perplexity(metrics['loss']):.4f}")
        if "validation_loss" in metrics:
            words.append(f"Eval Average Loss: {metrics['validation_loss']:.4f}")
            words.append(f"Eval Perplexity: {perplexity(metrics['validation_loss']):.4f}")
        words += [f"{name}: {value:.6g}" for name, value in metrics.items() if name not in TOLD_IN_WORDS]
        self._print(" ".join(words))

    def _due(self, kind: str, seconds: float) -> bool:
        at = time.monotonic()
        if at - self._line_at[kind] < seconds:
            return False
        self._line_at[kind] = at
        return True

    def _complain(self, kind: str, text: str) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            self._print(text)

    def _print(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a closed standard output is no reason to stop training


def perplexity(loss: float) -> float:
    """exp(loss), the loss in nats per token; infinite where a float cannot hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
