"""One file from the web, streamed to disk: checked by SHA-256, resumed after a break, retried until a deadline."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from millrace_dataset.files import CHUNK_BYTES, sha256_file
from millrace_dataset.problems import Problem

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """Seconds: a read without bytes, the time without any progress after which we give up, the first and longest pause."""

    read_timeout: float = 30.0
    deadline: float = 600.0
    first_pause: float = 0.5
    longest_pause: float = 30.0


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """A redirect from https to http would drop what the user asked for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise Problem("DownloadFailed", f"{req.full_url} redirects to a plain http address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, sha256: str, target: Path, on_bytes: Callable[[int], None], patience: Patience | None = None) -> None:
    """Fetch `url` to `target`; Problem(DownloadFailed) after the deadline, Problem(ChecksumMismatch) on other content."""
    patience = patience or Patience()
    _fetch(url, target, on_bytes, patience)
    found, _ = sha256_file(target)
    if found != sha256:
        target.unlink()
        raise Problem("ChecksumMismatch", f"{url} has sha256 {found}, the spec says {sha256}")


def _fetch(url: str, target: Path, on_bytes: Callable[[int], None], patience: Patience) -> None:
    give_up, pause, reached = time.monotonic() + patience.deadline, patience.first_pause, 0
    while True:
        try:
            return _attempt(url, target, on_bytes, patience.read_timeout)
        except urllib.error.HTTPError as error:
            fault = f"status {error.code}"
            error.close()
            if error.code not in RETRIED_STATUS:
                raise Problem("DownloadFailed", f"{url} answered {fault}") from error
        except (OSError, HTTPException) as error:
            fault = str(error) or type(error).__name__
        size = target.stat().st_size if target.exists() else 0
        if size > reached:  # bytes came: the server lives, so patience starts anew
            give_up, pause, reached = time.monotonic() + patience.deadline, patience.first_pause, size
        if time.monotonic() + pause > give_up:
            raise Problem("DownloadFailed", f"{url}: no progress for {patience.deadline:.0f} s, last fault: {fault}")
        time.sleep(pause)
        pause = min(pause * 2, patience.longest_pause)


def _attempt(url: str, target: Path, on_bytes: Callable[[int], None], timeout: float) -> None:
    have = target.stat().st_size if target.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    opener = urllib.request.build_opener(_NoDowngrade())
    with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as reply:
        resumed = reply.status == 206
        expected = int(reply.headers.get("Content-Length") or -1)
        with target.open("ab" if resumed else "wb") as stream:
            got = _copy(reply, stream, on_bytes)
    if expected >= 0 and got != expected:
        raise OSError(f"connection closed after {got} of {expected} bytes")


def _copy(reply: IO[bytes], stream: IO[bytes], on_bytes: Callable[[int], None]) -> int:
    total = 0
    while chunk := reply.read(CHUNK_BYTES):
        stream.write(chunk)
        on_bytes(len(chunk))
        total += len(chunk)
    return total
