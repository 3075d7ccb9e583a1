"""``framelane plan``: what clips take here, and what fits into the session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from framelane.cli.options import (
    Budget,
    Config,
    Debug,
    Decoder,
    Encoder,
    Exclude,
    Include,
    Mode,
    OrderBy,
    PrintSettings,
    ProcessorName,
    Profile,
    RequireGpu,
    Set,
    event_sink,
    overrides_of,
    print_settings_of,
)  # fmt: skip
from framelane.errors import UsageError


def plan(
    processor: ProcessorName,
    source: Annotated[Path, typer.Argument(metavar="CLIP|FOLDER", help="A video, or a folder of videos.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where results will lie.")] = None,
    budget: Budget = "80m",
    include: Include = None,
    exclude: Exclude = None,
    order: OrderBy = "name",
    mode: Mode = None,
    profile: Profile = None,
    config: Config = None,
    assignments: Set = None,
    events: Annotated[str | None, typer.Option(help="Write the events of measuring as JSON lines to a file.")] = None,
    decoder: Decoder = None,
    require_gpu: RequireGpu = False,
    encoder: Encoder = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again, even where this machine's figures are remembered.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    print_settings: PrintSettings = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Say what clips will take on this machine, and what fits into the session. Makes no result."""
    from framelane.jobs.planning import Wanted, plan_clips
    from framelane.processors.base import create

    wanted = Wanted(mode, profile, config, overrides_of(assignments, require_gpu, decoder=decoder, encoder=encoder))
    if print_settings:
        create(processor)
        print_settings_of(wanted.loaded())
        return
    if events == "-":
        raise UsageError("The plan itself goes to stdout; name a file for the events.")
    with event_sink(events) as sink:
        made = plan_clips(
            source, processor, output=output, wanted=wanted, include=include or (), exclude=exclude or (),
            order=order, budget=budget, again=measure, listener=sink,
        )  # fmt: skip
    show_plan(made, as_json)


def show_plan(made: Any, as_json: bool = False, *, to_stderr: bool = False) -> None:
    """The plan as a box, or as JSON."""
    from rich.console import Console

    from framelane.jobs.plan_view import plan_box, plan_data

    if as_json:
        typer.echo(json.dumps(plan_data(made), indent=2))
    else:
        Console(stderr=to_stderr).print(plan_box(made))
