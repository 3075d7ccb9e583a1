"""What several commands share: options, and where events and lines for people go."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from framelane.errors import UsageError
from framelane.i18n import asked_for
from framelane.processors import shipped
from framelane.resources import config_names

if TYPE_CHECKING:
    from framelane.engine.events import Event

ProcessorName = Annotated[
    str, typer.Argument(metavar="PROCESSOR", help=f"What happens to the frames: {', '.join(shipped())}.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.")]
Mode = Annotated[str | None, typer.Option(help="fast, balanced or quality.")]
Profile = Annotated[
    str | None, typer.Option(help=f"What the hardware allows: auto, {', '.join(config_names('profiles'))}.")
]
Config = Annotated[Path | None, typer.Option(help="A YAML file of settings.")]
RequireGpu = Annotated[bool, typer.Option("--require-gpu", help="Fail instead of falling back to the CPU.")]
Decoder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What decodes: auto, pyav, nvcodec or ffmpeg (ways to the GPU's decoder), or cpu; what is named must work.",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What encodes: auto (the first that proves itself), pyav, nvcodec or ffmpeg (ways to the GPU's encoder), cpu.",
    ),
]
PrintSettings = Annotated[
    bool, typer.Option("--print-settings", help="Show the merged settings and where each comes from, and stop.")
]
Consent = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="faceswap: who agreed to the use of the source face, and on what ground; you declare that the person is an "
        "adult.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a stack trace with an error.")]
Budget = Annotated[
    str, typer.Option(help="Time of the session: 80m, 1h30m, 90 (minutes), or none; counted from its start.")
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Take only clips that fit a pattern, as in '*.mov', or '/a.mov' for that one file."),
]
Exclude = Annotated[list[str] | None, typer.Option(help="Leave out clips that fit a pattern.")]
OrderBy = Annotated[str, typer.Option("--order", help="shortest, name or oldest first.")]


def same(one: Path, other: Path) -> bool:
    """Whether two paths are one file."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def overrides_of(
    assignments: list[str] | None,
    require_gpu: bool = False,
    consent: str | None = None,
    decoder: str | None = None,
    encoder: str | None = None,
) -> dict[str, Any]:
    """What ``--set``, ``--require-gpu``, ``--consent``, ``--decoder`` and ``--encoder`` were given, by dotted key."""
    from framelane.settings import parse_assignment

    given = dict(parse_assignment(text) for text in assignments or [])
    given |= {} if consent is None else {"faceswap.consent": consent}
    given |= {} if decoder is None else {"hardware.decoder": decoder}
    given |= {} if encoder is None else {"hardware.encoder": encoder}
    return {**given, "output.require_gpu": True} if require_gpu else given


def print_settings_of(loaded: Any) -> None:
    """Every setting, its value, and where that comes from."""
    from framelane.settings import flatten

    values = flatten(loaded.settings.model_dump())
    width = max(len(key) for key in values)
    for key, value in values.items():
        typer.echo(f"{key:<{width}}  {json.dumps(value):<14}  {loaded.origin.get(key, 'default')}")


def tell(line: str) -> None:
    """A line for people, in their language: on stdout, unless events go there."""
    typer.echo(asked_for(line), err=_state["stdout_is_events"])


_state: dict[str, bool] = {"stdout_is_events": False}


@contextlib.contextmanager
def event_sink(target: str | None) -> Iterator[Any]:
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
