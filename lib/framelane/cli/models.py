"""``framelane models``: the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from framelane.errors import FramelaneError, UsageError

if TYPE_CHECKING:
    from framelane.models.store import Row

_ACCEPT = "--accept-licence"

models_app = typer.Typer(help="The model catalogue: what there is, what is here, and whether it is sound.")


@models_app.command("list")
def models_list(
    names: Annotated[list[str] | None, typer.Argument(help="Which models, with all that is known of each.")] = None,
    long: Annotated[bool, typer.Option("--long", help="All that is known of every model.")] = False,
) -> None:
    """Show the catalogue; of a model that is named, who made it, where it comes from and what fetches it."""
    if not names and not long:
        _models_table(fresh=False)
        typer.echo("More of one: framelane models list NAME")
        return
    from framelane.models import catalog, store

    wanted = [catalog.get(name).name for name in names or ()]
    rows = {row.name: row for row in store.table()}
    for name in wanted or rows:
        _page(rows[name])


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


def _models_table(*, fresh: bool) -> list[Row]:
    """The catalogue by task, narrow enough for 80 columns; what is more stands on each model's own page."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from framelane.models import store

    rows = store.table(fresh=fresh)
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("licence", overflow="fold")
    for task in dict.fromkeys(row.task for row in rows):
        table.add_row(Text(task, style="bold"))
        for row in rows:
            if row.task == task:
                table.add_row(f"  {row.name}", _megabytes(row), row.state, Text(row.licence))
    Console().print(table)
    for row in rows:
        if row.notice:
            typer.echo(f"{row.name}: {row.notice}")
    return rows


def _page(row: Row) -> None:
    """All that is known of a model."""
    typer.echo(f"{row.name} ({row.task}): {row.about}")
    said = {
        "state": str(row.state), "size": f"{_megabytes(row)} MB" if row.megabytes else "not known before it is fetched",
        "licence": row.licence, "vendor": row.vendor, "source": row.source,
        "fetch": "" if row.source == "embedded" else f"{row.command}{' --accept-licence' if row.asks == _ACCEPT else ''}",
        "notice": row.notice or "",
    }  # fmt: skip
    for label, text in said.items():
        if text:
            typer.echo(f"  {label:<8} {text}")


def _megabytes(row: Row) -> str:
    return "" if row.megabytes is None else f"{row.megabytes:.1f}"
