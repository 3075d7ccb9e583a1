"""``framelane doctor``, ``framelane bench`` and ``framelane tune``: this machine, how fast it is, and what suits it."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also measure for about a minute, and print a block for a bug report.")
    ] = False,
    path: Annotated[
        list[str] | None, typer.Option("--path", help="A folder to be proven as a Drive; can be given again.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Look at this subject only; can be given again.")
    ] = None,
) -> None:
    """Look at this machine: what works, found by doing, what does not and why, and which profile fits."""
    from framelane import doctor as examination

    drives = path or []
    report = examination.examine(deep=deep, drives=drives, only=only or examination.SUBJECTS)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    from rich.console import Console

    Console().print(examination.render(report))
    if deep:
        typer.echo("\nFor a bug report (names, folders and serial numbers are taken out; look it over once more):\n")
        typer.echo(examination.paste_block(report, drives=drives))


def bench(
    name: Annotated[
        str, typer.Argument(help="attention, depth, engine, faceswap, follow, motion, pose, tracking or video.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="attention only: does the model use what its maps show?")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="engine: a short clip, once; faceswap: without the network of real size, which takes minutes; "
            "video: one run.",
        ),
    ] = False,
    size: Annotated[str | None, typer.Option("--size", help="video only: 720p or 1080p instead of both.")] = None,
) -> None:
    """Measure, against peers in the same run."""
    from framelane import bench as benches

    benches.run(name, as_json=as_json, faithfulness=faithfulness, quick=quick, size=size)


def tune(
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to measure, about.")] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and tell, but write nothing.")] = False,
) -> None:
    """Measure batch sizes, threads and presets for a minute; the best become this machine's own settings."""
    from rich.console import Console

    from framelane import tuned
    from framelane.bench import tuning

    if not dry_run and tuned.path() is None:
        from framelane.errors import UsageError

        raise UsageError(f"{tuned.VARIABLE} is empty, so there is no place to write to; unset it, or use --dry-run.")
    rows, path = tuning.tune(seconds, dry_run, lambda line: typer.echo(line, err=True))
    Console().print(tuning.table(rows))
    typer.echo(f"Written to {path}." if path else "Nothing was written (--dry-run).")
