"""`millrace hub`: which models SageMaker's public hub has, and what an endpoint of one would need."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from millrace.cli.problems import Exit, Problem, as_yourself

_COLUMNS = ("MODEL", "VERSION", "TASK", "LICENCE", "EULA", "DEFAULT TYPE", "TUNABLE")
Object = dict[str, Any]
_WHO = "millrace hub asks as you: log in (aws sso login, AWS_PROFILE), with the permissions sagemaker:ListHubContents and "
_WHO += "sagemaker:DescribeHubContent."


def hub(
    word: Annotated[str, typer.Argument(help="Part of the model's id, for example falcon.")],
    region: Annotated[str | None, typer.Option("--region", help="Region; $AWS_REGION or $AWS_DEFAULT_REGION by default.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Models to show at most.")] = 20,
    output: Annotated[str, typer.Option("--output", "-o", help="table, or yaml with whole cards.")] = "table",
) -> None:
    """Search SageMaker's public hub (JumpStart), as yourself: licence, task, instance types and whether a model can be tuned."""
    if output not in ("table", "yaml"):
        raise typer.BadParameter("--output is table or yaml")
    found = _found(word, _region(region), most)
    if not found:
        missing = f"the hub has no model whose id contains {word!r}"
        raise Problem(missing, "Try a shorter word, or another --region.", Exit.NOT_FOUND)
    typer.echo(_table(found) if output == "table" else _yaml(found), nl=False)


def _region(given: str | None) -> str:
    region = given or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise Problem("no Region is named", "Give --region, or set AWS_REGION.", Exit.USAGE)
    return region


def _found(word: str, region: str, most: int) -> list[Object]:
    from millrace.aws.errors import CallError
    from millrace.aws.hub_search import Search

    try:
        return list(Search(region, os.environ.get("AWS_ENDPOINT_URL", "")).models(word, most))
    except CallError as error:
        raise as_yourself(error, _WHO) from error


def _table(found: list[Object]) -> str:
    rows = [_COLUMNS, *(_row(card) for card in found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    return "".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _row(card: Object) -> tuple[str, ...]:
    default = (card.get("instanceTypes") or [""])[0]
    told = [card.get(name, "") for name in ("modelID", "version", "task", "licence", "acceptEULA")]
    return (*told, default, "yes" if card["tunable"] else "no")


def _yaml(found: list[Object]) -> str:
    import yaml

    return str(yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True, width=120))
