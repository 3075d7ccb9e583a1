"""``framelane batch``: a folder of clips, and how a terminal shows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framelane.cli.options import (
    Budget,
    Config,
    Consent,
    Debug,
    Decoder,
    Encoder,
    Exclude,
    Include,
    Mode,
    OrderBy,
    ProcessorName,
    Profile,
    RequireGpu,
    Set,
    event_sink,
    overrides_of,
    tell,
)
from framelane.cli.plan import show_plan
from framelane.errors import UsageError
from framelane.i18n import asked_for

if TYPE_CHECKING:
    from rich.table import Table

    from framelane.engine.controls import Controls
    from framelane.jobs.state import BatchResult

_STYLES = {"done": "green", "failed": "red", "skipped": "dim", "waiting": "yellow"}


def batch(
    processor: ProcessorName,
    folder: Annotated[Path, typer.Argument(help="The folder of clips; searched with everything below it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for the results.")],
    budget: Budget = "80m",
    include: Include = None,
    exclude: Exclude = None,
    order: OrderBy = "name",
    restart: Annotated[bool, typer.Option("--restart", help="Do again what is done, and replace its results.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    executor: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    on_done: Annotated[
        str | None,
        typer.Option(
            "--on-done", help="At the end: a command (no shell; {done}, {failed}, {out}, …) or a web address."
        ),
    ] = None,
    controls: Annotated[
        str | None,
        typer.Option(
            help='- reads JSON lines from standard input: {"control": "pause"}, resume, stop_after, cancel; the batch ends '
            "where its input ends."
        ),
    ] = None,
    mode: Mode = None,
    profile: Profile = None,
    config: Config = None,
    assignments: Set = None,
    events: Annotated[str | None, typer.Option(help="Write events as JSON lines to a file, or to - (stdout).")] = None,
    decoder: Decoder = None,
    require_gpu: RequireGpu = False,
    encoder: Encoder = None,
    consent: Consent = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Process every clip of a folder. The same command again goes on where an interrupted one stopped."""
    from rich.console import Console

    from framelane.jobs.batch import process_folder

    switches = listening(controls)
    with event_sink(events) as sink:
        result = process_folder(
            folder,
            processor,
            output=output,
            mode=mode,
            profile=profile,
            config=config,
            overrides=overrides_of(assignments, require_gpu, consent, decoder=decoder, encoder=encoder),
            include=include or (),
            exclude=exclude or (),
            order=order,
            budget=budget,
            restart=restart,
            dry_run=dry_run,
            executor=executor,
            address=address,
            progress=sink,
            controls=switches,
            on_done=on_done,
            planned=lambda plan: show_plan(plan, to_stderr=events == "-"),
        )
    Console(stderr=events == "-").print(summary(result))
    if result.page:
        tell(f"Page    {result.page}")
    raise typer.Exit(result.exit_code)


def listening(source: str | None) -> Controls:
    """Controls that are read from standard input, where that is asked for.

    When the input ends, whoever started the batch is gone, and it goes at once: a command that follows must not find a job
    taken by somebody who is about to leave. Finished segments survive that as they survive anything.

    Args:
        source: ``"-"``; None reads nothing.

    Raises:
        UsageError: something else is named.
    """
    from framelane.engine.controls import Controls

    controls = Controls()
    if source is None:
        return controls
    if source != "-":
        raise UsageError(f"--controls {source!r} is unknown; the only source is -, the standard input.")
    # A file of its own: at its end Python closes sys.stdin, and would meet the thread that reads from it.
    lines = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8", errors="replace")
    controls.follow(lines, lambda problem: print(f"! {problem}", file=sys.stderr, flush=True), lambda: os._exit(130))
    return controls


def summary(result: BatchResult) -> Table:
    """A row a job, and how many there are of each state."""
    from rich.table import Table
    from rich.text import Text

    said = ", ".join(f"{number} {state}" for state, number in result.counts.items() if number)
    table = Table(title=f"{said or 'no jobs'} in {result.seconds:.0f} s", title_justify="left")
    table.add_column("result", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("frames", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for job in result.jobs:
        # repr: a name may hold line breaks and control characters.
        name = job.name if job.name.isprintable() else repr(job.name)
        seconds = f"{job.seconds:.1f}" if job.seconds else ""
        table.add_row(
            Text(name),
            Text(asked_for(job.state), style=_STYLES.get(job.state, "")),
            str(job.frames or ""),
            seconds,
            Text(asked_for(job.reason)),
        )
    return table
