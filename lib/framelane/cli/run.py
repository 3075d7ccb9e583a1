"""``framelane run`` and ``framelane prepare``: one clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framelane.cli.options import (
    Config,
    Consent,
    Debug,
    Decoder,
    Encoder,
    Mode,
    PrintSettings,
    ProcessorName,
    Profile,
    RequireGpu,
    Set,
    event_sink,
    overrides_of,
    print_settings_of,
    same,
    tell,
)  # fmt: skip
from framelane.engine.events import Event
from framelane.errors import UsageError
from framelane.progress import result_lines

if TYPE_CHECKING:
    from framelane.settings import Loaded


def run(
    processor: ProcessorName,
    clip: Annotated[Path, typer.Argument(help="The input video.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file to make: .mp4, .mov or .mkv.")] = None,
    mode: Mode = None,
    profile: Profile = None,
    config: Config = None,
    assignments: Set = None,
    events: Annotated[str | None, typer.Option(help="Write events as JSON lines to a file, or to - (stdout).")] = None,
    decoder: Decoder = None,
    require_gpu: RequireGpu = False,
    encoder: Encoder = None,
    consent: Consent = None,
    restart: Annotated[bool, typer.Option("--restart", help="Do again what is done, and replace its result.")] = False,
    print_settings: PrintSettings = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Process one clip. The same command again goes on where an interrupted one stopped."""
    from framelane import run as runner
    from framelane.processors.base import create

    overrides = overrides_of(assignments, require_gpu, consent, decoder=decoder, encoder=encoder)
    loaded = runner.load_settings(mode, profile, config, overrides)
    if print_settings:
        create(processor)
        print_settings_of(loaded)
        return
    if output is None:
        raise UsageError("Name the file to make with -o, for example -o out.mp4.")
    if events not in (None, "-") and any(same(Path(events), path) for path in (clip, output, config) if path):
        raise UsageError(f"The events file {events} is also the clip, the output or the settings; choose another name.")
    with event_sink(events) as sink:
        if not restart and (standing := _finished(clip, processor, output, loaded)):
            if events:
                sink(Event(event="done", output=str(output), frames=standing["frames"], seconds=0.0, avg_fps=0.0))
            tell(f"{output} is finished already; --restart does it again.")
            return
        result = runner.process_video(
            clip,
            processor,
            output=output,
            mode=mode,
            profile=profile,
            config=config,
            overrides=overrides,
            progress=sink,
            restart=restart,
        )
    for line in result_lines(result):
        typer.echo(line, err=events == "-")


def _finished(clip: Path, processor: str, output: Path, loaded: Loaded) -> Mapping[str, Any]:
    from framelane.processors.base import create
    from framelane.standing import finished
    from framelane.video.clip import probe

    return finished(output, probe(clip), create(processor), loaded) if clip.is_file() and output.is_file() else {}


def prepare(
    clip: Annotated[Path, typer.Argument(help="The input video, or a Project Aria recording (.vrs).")],
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
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Make a clip that a small machine decodes easily: H.264, 8 bits, fewer lines, all timestamps and the audio kept."""
    from framelane.preparation import PrepareOptions
    from framelane.preparation import prepare as make

    options = PrepareOptions(
        height=height, quality=quality, preset=preset, piece_seconds=piece_seconds, overwrite=overwrite
    )
    if events not in (None, "-") and any(same(Path(events), path) for path in (clip, output)):
        raise UsageError(f"The events file {events} is also the clip or the output; choose another name.")
    with event_sink(events) as sink:
        made = make(clip, output, options=options, progress=sink)
    for path in made.paths:
        tell(f"Video   {path} ({path.stat().st_size / 1e6:.1f} MB)")
    tell(f"Report  {made.report_path}")
