"""Lets `python -m millrace.cli.local up` work before anything is installed."""

from millrace.cli.local.commands import app

app(prog_name="millrace local")
