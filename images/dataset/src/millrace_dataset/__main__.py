"""`python -m millrace_dataset`: read MILLRACE_DATASET, do it, answer in the termination message."""

import os
import signal
import sys
from dataclasses import replace
from typing import Any

from millrace_dataset import result
from millrace_dataset.lines import SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.progress import Progress
from millrace_dataset.publish import publish
from millrace_dataset.request import Request, parse_request
from millrace_dataset.result import Done
from millrace_dataset.scan import scan_text
from millrace_dataset.sources import opened
from millrace_dataset.write import write_splits


def run(request: Request, progress: Progress) -> Done:
    """Scan and, when asked, examine and publish; raises Problem."""
    done = _run(request, progress)
    if request.target is None or request.publish is None:
        return done
    from millrace_dataset import s3  # the client takes memory that claims do not need

    return replace(done, published=s3.store(request.publish, request.target, done.published))


def _run(request: Request, progress: Progress) -> Done:
    with opened(request, progress.advance) as files:
        size = sum(file.path.stat().st_size for file in files)
        if request.format == "text":
            progress.expect((2 if request.publish else 1) * size)
            return _text(request, files, progress)
        from millrace_dataset import tabular  # the database takes 60 MB that lines of text do not need

        progress.expect(tabular.stages(request) * size)
        return tabular.run(request, files, progress.advance, size)


def _text(request: Request, files: list[SourceFile], progress: Progress) -> Done:
    found = scan_text(files, request, progress.advance)
    if request.publish is None:
        return Done(found)
    write = lambda folder: write_splits(files, request, found, folder, progress.advance)  # noqa: E731
    return Done(found, publish(request, found, request.publish, write))


def answer(text: str) -> dict[str, Any]:
    """The termination message's content for a request's text."""
    try:
        request = parse_request(text)
    except Problem as problem:
        return result.failure(problem)
    progress = Progress(request).start()
    try:
        made = result.answer(run(request, progress), request)
    except Problem as problem:
        progress.finish("failed")
        return result.failure(problem)
    except OSError as error:
        progress.finish("failed")
        return result.failure(Problem("SourceMissing", f"reading the source failed: {error}"))
    progress.finish("done" if made["ok"] else "failed")
    return made


def main() -> int:
    """Exit code 0 when the source is in order and published, 1 otherwise; 143 after SIGTERM, with nothing left half-sent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    made = answer(os.environ.get("MILLRACE_DATASET", ""))
    sys.stdout.write(result.write(made) + "\n")
    return 0 if made["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
