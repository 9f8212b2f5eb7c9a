"""Where a published file is, as its consumers say it."""

import os
from pathlib import Path, PurePosixPath

from millrace_dataset.request import Request

DEFAULT_CLAIMS = "/millrace/claims"


def located(path: Path, request: Request) -> dict[str, str]:
    """Its URI where it is put into S3, else its path relative to the claim's root."""
    if request.target is None or request.publish is None:
        return {"path": path_in_claim(path)}
    return {"uri": f"{request.target.uri.rstrip('/')}/{path.relative_to(request.publish).as_posix()}"}


def path_in_claim(path: Path) -> str:
    """`/millrace/claims/<claim>/a/b` -> `a/b`; a path outside every claim stays as it is."""
    root = PurePosixPath(os.environ.get("MILLRACE_CLAIMS_ROOT", DEFAULT_CLAIMS))
    if not path.is_relative_to(root):
        return path.as_posix()
    return PurePosixPath(*path.relative_to(root).parts[1:]).as_posix()
