"""`python -m millrace.podside golden|model|preflight|readback|sweep|tail|verify`; the task comes as JSON in MILLRACE_TASK."""

from __future__ import annotations

import json
import os
import sys

from millrace.podside import golden, model, preflight, readback, sweep, tail, verify

PROGRAMS = {
    "golden": golden.run,
    "model": model.run,
    "preflight": preflight.run,
    "readback": readback.run,
    "sweep": sweep.run,
    "tail": tail.run,
    "verify": verify.run,
}


def main() -> int:
    """Exit code of the named program; 2 where there is none of that name."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in PROGRAMS:
        print(f"usage: python -m millrace.podside {'|'.join(PROGRAMS)}", file=sys.stderr)  # noqa: T201
        return 2
    return PROGRAMS[name](json.loads(os.environ["MILLRACE_TASK"]))


if __name__ == "__main__":
    sys.exit(main())
