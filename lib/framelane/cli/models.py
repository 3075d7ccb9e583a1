"""``framelane models``: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from framelane.errors import FramelaneError, UsageError

models_app = typer.Typer(help="The model catalogue: what there is, what is here, and whether it is sound.")


@models_app.command("list")
def models_list() -> None:
    """Show the catalogue."""
    _models_table(fresh=False)


@models_app.command("check")
def models_check() -> None:
    """Read every model that is here and compare its SHA-256; exit code 1 if one is damaged."""
    rows = _models_table(fresh=True)
    if damaged := [row for row in rows if row.state == "damaged"]:
        raise FramelaneError(f"Damaged: {', '.join(row.name for row in damaged)}. Run: {damaged[0].command}")


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
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence that is shown, and accept it; once.")
    ] = False,
    given: Annotated[
        Path | None,
        typer.Option("--from", help="Take this file of yours instead of downloading; with --trust also another one."),
    ] = None,
) -> None:
    """Fetch models that are not embedded and check their SHA-256."""
    from framelane.models import catalog, store

    if given is not None and len(names or []) != 1:
        raise UsageError("--from is said of one model: framelane models fetch NAME --from FILE.")

    if trust and not names:
        raise UsageError("--trust is said of a model: framelane models fetch NAME --trust.")
    for name in names or [entry.name for entry in catalog.entries() if entry.default]:
        entry = catalog.get(name)
        if entry.terms and accept_licence:
            typer.echo(f"{name}: {entry.licence}. {entry.terms} You accept this.", err=True)
        path = store.fetch(
            name,
            force=force,
            notify=lambda text: typer.echo(text, err=True),
            trust=trust,
            accept=accept_licence,
            given=given,
        )
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
