"""`python -m millrace_dataset`: read MILLRACE_DATASET, do it, answer in the termination message."""

import os
import sys
from typing import Any

from millrace_dataset import result
from millrace_dataset.problems import Problem
from millrace_dataset.progress import Progress
from millrace_dataset.publish import Published, publish
from millrace_dataset.request import Request, parse_request
from millrace_dataset.scan import Scan, scan
from millrace_dataset.sources import opened


def run(request: Request, progress: Progress) -> tuple[Scan, Published | None]:
    """Scan and, when asked, publish; raises Problem."""
    with opened(request, progress.advance) as files:
        passes = 2 if request.publish else 1
        progress.expect(passes * sum(file.path.stat().st_size for file in files))
        found = scan(files, request, progress.advance)
        if request.publish is None:
            return found, None
        return found, publish(files, request, found, request.publish, progress.advance)


def answer(text: str) -> dict[str, Any]:
    """The termination message's content for a request's text."""
    try:
        request = parse_request(text)
    except Problem as problem:
        return result.failure(problem)
    progress = Progress(request).start()
    try:
        made = result.success(*run(request, progress))
    except Problem as problem:
        progress.finish("failed")
        return result.failure(problem)
    except OSError as error:
        progress.finish("failed")
        return result.failure(Problem("SourceMissing", f"reading the source failed: {error}"))
    progress.finish("done")
    return made


def main() -> int:
    """Exit code 0 when the source is in order and published, 1 otherwise."""
    made = answer(os.environ.get("MILLRACE_DATASET", ""))
    sys.stdout.write(result.write(made) + "\n")
    return 0 if made["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
