"""What an error code of AWS means: a table a service, as data beside this module, looked up before the common one.

AWS uses one code for several meanings (SageMaker says ValidationException for what does not exist), so a row may also ask for
words of the message. `why` is the row's source or reason.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources

COMMON = "common"


class Meaning(StrEnum):
    """What a code means; aws/failures.py has the error class of each."""

    THROTTLED = "throttled"
    DENIED = "denied"
    NO_CREDENTIALS = "no_credentials"
    EXPIRED = "expired"
    QUOTA = "quota"
    NOT_SUBSCRIBED = "not_subscribed"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    IN_USE = "in_use"
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Row:
    """One row: a code, words that the message must have (a regular expression, case ignored), operations that it is about."""

    code: str
    means: Meaning
    says: str = ""
    operations: tuple[str, ...] = field(default=())
    why: str = ""

    def fits(self, operation: str, code: str, message: str) -> bool:
        """Whether the row speaks of this answer."""
        if code != self.code or (self.operations and operation not in self.operations):
            return False
        return not self.says or re.search(self.says, message, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Table:
    """A service's rows, the particular ones first, and how IAM names its actions."""

    rows: tuple[Row, ...]
    iam: str
    actions: dict[str, str]

    def action(self, operation: str) -> str:
        """The IAM action that an operation needs."""
        return f"{self.iam}:{self.actions.get(operation, operation)}"


def meaning(service: str, operation: str, code: str, message: str) -> Meaning | None:
    """What an answer means; None where no table has its code."""
    rows = (*table(service).rows, *table(COMMON).rows)
    return next((row.means for row in rows if row.fits(operation, code, message)), None)


@cache
def table(service: str) -> Table:
    """The table of a service; an empty one where there is none."""
    found = resources.files(__package__).joinpath(f"{service}.toml")
    raw = tomllib.loads(found.read_text(encoding="utf-8")) if found.is_file() else {}
    special = [
        Row(**{**row, "means": Meaning(row["means"]), "operations": tuple(row.get("operations", ()))})
        for row in raw.get("rows", ())
    ]
    plain = [Row(code, Meaning(means)) for means, codes in raw.get("codes", {}).items() for code in codes]
    return Table((*special, *plain), str(raw.get("iam", service)), dict(raw.get("actions", {})))


def services() -> tuple[str, ...]:
    """Services that have a table of their own."""
    names = (entry.name for entry in resources.files(__package__).iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml") and n != f"{COMMON}.toml"))
