"""`millrace`, also as `kubectl millrace`: the command line.

The commands' own modules import what they need when they run, so that help and completion are quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from millrace import __version__
from millrace.cli import ask, hub, logs, plan, release, status, wait
from millrace.cli.problems import Exit, Problem

app = typer.Typer(
    name="millrace",
    help="Look after Millrace objects: what runs, what waits, what failed and what to do about it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

app.command("status")(status.status)
app.command("wait")(wait.wait)
app.command("logs")(logs.logs)
app.command("ask")(ask.ask)
app.command("plan")(plan.plan)
app.command("hub")(hub.hub)
app.command("release")(release.release)


@app.command("local", context_settings=_ANYTHING)
def local(context: typer.Context) -> None:
    """A real Kubernetes cluster on this machine."""
    from millrace.cli.local import app as local_app

    typer.main.get_command(local_app)(args=context.args, prog_name="millrace local")


@app.command("version")
def version(short: Annotated[bool, typer.Option("--short", help="The number alone.")] = False) -> None:
    """Version of this command line, and the kinds that it knows."""
    if short:
        typer.echo(__version__)
        return
    from millrace.engine.registry import controllers

    typer.echo(f"millrace {__version__}")
    typer.echo("kinds: " + ", ".join(f"{c.kind.name} ({c.kind.api_version})" for c in controllers()))


def run(arguments: list[str] | None = None) -> None:
    """The entry point. Always ends by SystemExit, with one of :class:`Exit` (130 after an interrupt)."""
    _usage_errors_apart()
    try:
        app(args=arguments, prog_name=_called_as())
    except Problem as problem:
        _say(problem.message, problem.next_step)
        sys.exit(problem.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone; Python would complain about it once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except Exception as error:
        sys.exit(_explained(error))


def _usage_errors_apart() -> None:
    """The library ends with 2 on a wrong command line; here 2 is `wait`'s time-out, which scripts must be able to tell."""
    typer.BadParameter.__bases__[0].exit_code = Exit.USAGE  # type: ignore[attr-defined]


def _called_as() -> str:
    return "kubectl millrace" if "kubectl" in os.path.basename(sys.argv[0]) else "millrace"


def _explained(error: Exception) -> int:
    """Says what an error means to the reader; only a defect of ours shows a traceback, and only when it is asked for."""
    from millrace.cli.explain import explained

    problem = explained(error)
    if problem is None:
        if os.environ.get("MILLRACE_DEBUG"):
            raise error
        problem = Problem(
            f"unexpected {type(error).__name__}: {error}",
            "This is a defect of millrace. MILLRACE_DEBUG=1 shows where; please report it.",
        )
    _say(problem.message, problem.next_step)
    return problem.code


def _say(message: str, next_step: str) -> None:
    typer.echo(f"error: {message}", err=True)
    if next_step:
        typer.echo(next_step, err=True)


if __name__ == "__main__":
    run()
