"""The command line: run, batch, plan, prepare, doctor, models, bench."""

from framelane.cli.app import app, main

__all__ = ["app", "main"]
