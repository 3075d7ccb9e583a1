"""The command line: run, plan, prepare, doctor, models, bench."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framelane.errors import Cancelled, FramelaneError, UsageError
from framelane.resources import config_names

if TYPE_CHECKING:
    from framelane.engine.events import Event

app = typer.Typer(
    name="framelane",
    help="Turn videos into finished results inside one GPU session, or on a laptop without a GPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="The model catalogue: what there is, what is here, and whether it is sound.")
app.add_typer(models_app, name="models", no_args_is_help=True)

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")]
Mode = Annotated[str | None, typer.Option(help="fast, balanced or quality.")]
Profile = Annotated[
    str | None, typer.Option(help=f"What the hardware allows: auto, {', '.join(config_names('profiles'))}.")
]
Config = Annotated[Path | None, typer.Option(help="A YAML file of settings.")]


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


@app.command()
def run(
    processor: Annotated[str, typer.Argument(help="What happens to the frames, for example: attention.")],
    clip: Annotated[Path, typer.Argument(help="The input video.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file to make: .mp4, .mov or .mkv.")] = None,
    mode: Mode = None,
    profile: Profile = None,
    config: Config = None,
    assignments: Set = None,
    events: Annotated[str | None, typer.Option(help="Write events as JSON lines to a file, or to - (stdout).")] = None,
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Fail instead of falling back to the CPU.")
    ] = False,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Show the merged settings and where each comes from, and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace with an error.")] = False,  # noqa: ARG001
) -> None:
    """Process one clip. The same command again goes on where an interrupted one stopped."""
    from framelane import run as runner
    from framelane.processors.base import create

    overrides = _overrides(assignments, require_gpu)
    loaded = runner.load_settings(mode, profile, config, overrides)
    if print_settings:
        create(processor)
        _print_settings(loaded)
        return
    if output is None:
        raise UsageError("Name the file to make with -o, for example -o out.mp4.")
    if events not in (None, "-") and any(_same(Path(events), path) for path in (clip, output, config) if path):
        raise UsageError(f"The events file {events} is also the clip, the output or the settings; choose another name.")
    with _event_sink(events) as sink:
        result = runner.process_video(
            clip,
            processor,
            output=output,
            mode=mode,
            profile=profile,
            config=config,
            overrides=overrides,
            progress=sink,
        )
    _tell(f"Video   {result.output_path}")
    if result.gif_path:
        _tell(f"GIF     {result.gif_path} ({result.gif_path.stat().st_size / 1e6:.1f} MB)")
    _tell(f"Report  {result.report_path}")
    frames = result.report["frames"] - result.report["resumed_at_frame"]
    _tell(f"Time    {result.processing_time:.1f} s for {frames} frames ({result.avg_fps:.1f} fps)")


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def _overrides(assignments: list[str] | None, require_gpu: bool = False) -> dict[str, Any]:
    from framelane.settings import parse_assignment

    given = dict(parse_assignment(text) for text in assignments or [])
    return {**given, "output.require_gpu": True} if require_gpu else given


def _print_settings(loaded: Any) -> None:
    from framelane.settings import flatten

    values = flatten(loaded.settings.model_dump())
    width = max(len(key) for key in values)
    for key, value in values.items():
        typer.echo(f"{key:<{width}}  {json.dumps(value):<14}  {loaded.origin.get(key, 'default')}")


def _tell(line: str) -> None:
    """A line for people: on stdout, unless events go there."""
    typer.echo(line, err=_state["stdout_is_events"])


_state: dict[str, bool] = {"stdout_is_events": False}


@contextlib.contextmanager
def _event_sink(target: str | None) -> Iterator[Any]:
    """Where events go: to people always, and as JSON lines to a file or stdout if asked."""
    from framelane.progress import open_view

    _state["stdout_is_events"] = target == "-"
    with contextlib.ExitStack() as stack:
        file: Any = None
        if target == "-":
            file = sys.stdout
        elif target:
            try:
                file = stack.enter_context(Path(target).open("w", encoding="utf-8"))
            except OSError as error:
                raise UsageError(f"The events file {target} cannot be written: {error.strerror}.") from error
        view = stack.enter_context(open_view(sys.stderr))

        def sink(event: Event) -> None:
            view(event)
            if file is not None:
                file.write(json.dumps(event) + "\n")
                file.flush()

        yield sink


@app.command()
def plan(
    processor: Annotated[str, typer.Argument(help="What happens to the frames, for example: attention.")],
    source: Annotated[Path, typer.Argument(metavar="CLIP|FOLDER", help="A video, or a folder of videos.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where results will lie.")] = None,
    budget: Annotated[
        str, typer.Option(help="Time of the session: 80m, 1h30m, 90 (minutes), or none; counted from its start.")
    ] = "80m",
    include: Annotated[
        list[str] | None, typer.Option(help="Take only clips that fit a pattern, as in '*.mov'.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out clips that fit a pattern.")] = None,
    order: Annotated[str, typer.Option(help="shortest, name or oldest first.")] = "name",
    mode: Mode = None,
    profile: Profile = None,
    config: Config = None,
    assignments: Set = None,
    events: Annotated[str | None, typer.Option(help="Write the events of measuring as JSON lines to a file.")] = None,
    require_gpu: Annotated[
        bool, typer.Option("--require-gpu", help="Fail instead of falling back to the CPU.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again, even where this machine's figures are remembered.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Show the merged settings and where each comes from, and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace with an error.")] = False,  # noqa: ARG001
) -> None:
    """Say what clips will take on this machine, and what fits into the session. Makes no result."""
    from framelane.jobs.planning import Wanted, plan_clips
    from framelane.processors.base import create

    wanted = Wanted(mode, profile, config, _overrides(assignments, require_gpu))
    if print_settings:
        create(processor)
        _print_settings(wanted.loaded())
        return
    if events == "-":
        raise UsageError("The plan itself goes to stdout; name a file for the events.")
    with _event_sink(events) as sink:
        made = plan_clips(
            source, processor, output=output, wanted=wanted, include=include or (), exclude=exclude or (),
            order=order, budget=budget, again=measure, listener=sink,
        )  # fmt: skip
    _print_plan(made, as_json)


def _print_plan(made: Any, as_json: bool) -> None:
    from rich.console import Console

    from framelane.jobs.plan_view import plan_box, plan_data

    if as_json:
        typer.echo(json.dumps(plan_data(made), indent=2))
    else:
        Console().print(plan_box(made))


@app.command()
def prepare(
    clip: Annotated[Path, typer.Argument(help="The input video.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to make; with --piece-seconds a folder, or a name to number."),
    ],
    height: Annotated[int, typer.Option(help="Lines at most, as in 720p; 0 keeps the clip's.")] = 720,
    quality: Annotated[int, typer.Option(help="CRF: lower is better and larger.")] = 20,
    preset: Annotated[str, typer.Option(help="x264's preset: slower is smaller.")] = "fast",
    piece_seconds: Annotated[float | None, typer.Option(help="Cut into pieces of about this length.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that framelane did not make.")] = False,
    events: Annotated[str | None, typer.Option(help="Write events as JSON lines to a file, or to - (stdout).")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show a stack trace with an error.")] = False,  # noqa: ARG001
) -> None:
    """Make a clip that a small machine decodes easily: H.264, 8 bits, fewer lines, all timestamps and the audio kept."""
    from framelane.preparation import PrepareOptions
    from framelane.preparation import prepare as make

    options = PrepareOptions(
        height=height, quality=quality, preset=preset, piece_seconds=piece_seconds, overwrite=overwrite
    )
    if events not in (None, "-") and any(_same(Path(events), path) for path in (clip, output)):
        raise UsageError(f"The events file {events} is also the clip or the output; choose another name.")
    with _event_sink(events) as sink:
        made = make(clip, output, options=options, progress=sink)
    for path in made.paths:
        _tell(f"Video   {path} ({path.stat().st_size / 1e6:.1f} MB)")
    _tell(f"Report  {made.report_path}")


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also measure; takes longer.")] = False,
) -> None:
    """Look at this machine: what works, what does not and why, and which profile fits."""
    from framelane import hardware

    report = hardware.doctor_report(deep=deep)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    from rich.console import Console

    Console().print(hardware.render_doctor(report))


@models_app.command("list")
def models_list() -> None:
    """Show the catalogue."""
    _models_table(fresh=False)


@models_app.command("check")
def models_check() -> None:
    """Read every model that is here and compare its SHA-256; exit code 1 if one is damaged."""
    rows = _models_table(fresh=True)
    if damaged := [row.name for row in rows if row.state == "damaged"]:
        raise FramelaneError(f"Damaged: {', '.join(damaged)}. Run: framelane models fetch {damaged[0]}")


@models_app.command("fetch")
def models_fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which models; if none is named, those it works with out of the box.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if it is here.")] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Take a file whose publisher names no digest, and record the digest it has now."),
    ] = False,
) -> None:
    """Fetch models that are not embedded and check their SHA-256."""
    from framelane.models import catalog, store

    if trust and not names:
        raise UsageError("--trust is said of a model: framelane models fetch NAME --trust.")
    for name in names or [entry.name for entry in catalog.entries() if entry.default]:
        path = store.fetch(name, force=force, notify=lambda text: typer.echo(text, err=True), trust=trust)
        typer.echo(f"{name}: {path}")


def _models_table(*, fresh: bool) -> list[Any]:
    from rich.console import Console
    from rich.table import Table

    from framelane.models import store

    rows = store.table(fresh=fresh)
    table = Table()
    for heading, whole in (("model", True), ("task", False), ("MB", True), ("state", True)):
        table.add_column(heading, no_wrap=whole)
    for heading in ("licence", "vendor, source"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        size = "" if row.megabytes is None else f"{row.megabytes:.1f}"
        table.add_row(row.name, row.task, size, row.state, row.licence, f"{row.vendor}\n{row.source}")
    Console().print(table)
    for row in rows:
        if row.notice:
            typer.echo(f"{row.name}: {row.notice}")
    return rows


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="attention, engine, motion or tracking.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="attention only: does the model use what its maps show?")
    ] = False,
) -> None:
    """Measure, against peers in the same run."""
    from framelane import bench as benches

    benches.run(name, as_json=as_json, faithfulness=faithfulness)


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
        print(f"framelane: {error}", file=sys.stderr)
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
    from framelane.errors import chain

    print(
        f"framelane: something unforeseen happened ({chain(error)}). Run the same command with --debug to see where.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    main()
