"""The command line as a whole: its commands, and how every error ends."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from framelane.cli.batch import batch
from framelane.cli.models import models_app
from framelane.cli.plan import plan
from framelane.cli.run import prepare, run
from framelane.cli.tools import bench, doctor, tune
from framelane.errors import Cancelled, FramelaneError
from framelane.i18n import asked_for

app = typer.Typer(
    name="framelane",
    help="Turn videos into finished results inside one GPU session, or on a laptop without a GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (run, batch, plan, prepare, doctor, bench, tune):
    app.command()(_command)
app.add_typer(models_app, name="models", no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        from framelane import __version__

        typer.echo(f"framelane {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace with an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that stand before the command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error ends as a sentence on stderr and its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # Notebooks and containers stop a process with SIGTERM: it then ends as Ctrl-C ends it, resumable.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        returned = app(args=given, prog_name="framelane", standalone_mode=False)
        code = returned if isinstance(returned, int) else 0  # typer returns the code of an Exit, Ctrl-C's too
    except FramelaneError as error:
        if debug:
            raise
        code = error.exit_code
        print(f"framelane: {asked_for(str(error))}", file=sys.stderr)
    except typer.Abort:
        code = Cancelled.exit_code
    except Exception as error:
        code = _unexpected(error, debug)
    sys.exit(code)


def _unexpected(error: Exception, debug: bool) -> int:
    """Usage errors of the parser as their own text; anything else is a defect of ours, said in one sentence."""
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # the parser's own, whichever click typer carries
        error.show(file=sys.stderr)
        return int(error.exit_code)
    if debug:
        raise error
    from framelane.video.disk import is_full, write_error

    if is_full(error):
        named = getattr(error, "filename", None)
        said = write_error(Path(str(named)) if named else Path.cwd() / "?", error)
        print(f"framelane: {asked_for(str(said))}", file=sys.stderr)
        return FramelaneError.exit_code
    from framelane.errors import chain

    text = f"something unforeseen happened ({chain(error)}). Run the same command with --debug to see where."
    print(f"framelane: {asked_for(text)}", file=sys.stderr)
    return 1
