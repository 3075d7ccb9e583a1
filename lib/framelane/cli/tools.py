"""``framelane doctor`` and ``framelane bench``: this machine, and how fast it is."""

from __future__ import annotations

import json
from typing import Annotated

import typer


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


def bench(
    name: Annotated[str, typer.Argument(help="attention, depth, engine, faceswap, motion or tracking.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="attention only: does the model use what its maps show?")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="faceswap only: without the network of real size, which takes minutes.")
    ] = False,
) -> None:
    """Measure, against peers in the same run."""
    from framelane import bench as benches

    benches.run(name, as_json=as_json, faithfulness=faithfulness, quick=quick)
