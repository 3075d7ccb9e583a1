"""The one table at the end, in plain text."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from .verify import Verdict

_HEADS = ("component", "version", "status", "how verified", "what to do", "s")


def table(verdicts: Iterable[Verdict], width: int | None = None) -> str:
    """A row a component.

    Args:
        verdicts: of the checks.
        width: of the terminal, in letters; None asks it.
    """
    rows = [(v.component, v.version, v.status, v.how, v.do, f"{v.seconds:.1f}") for v in verdicts]
    return grid(_HEADS, rows, width, wrapped=(3, 4))


def steps(times: Sequence[tuple[str, float]]) -> str:
    """How long each step took."""
    return "Seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in times)


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, wrapped: tuple[int, ...]) -> str:
    """Columns that are as wide as they need to be; the wrapped ones share what is left.

    Args:
        heads: titles.
        rows: text.
        width: letters in all; None asks the terminal.
        wrapped: numbers of the columns whose text is broken into lines.
    """
    width = width or max(80, min(160, shutil.get_terminal_size((120, 24)).columns))
    sizes = [max(len(row[n]) for row in [heads, *rows]) for n in range(len(heads))]
    left = width - sum(size + 2 for n, size in enumerate(sizes) if n not in wrapped)
    wishes = sum(sizes[n] for n in wrapped)
    for n in wrapped:
        sizes[n] = max(12, min(sizes[n], round(left * sizes[n] / max(1, wishes)) - 2))
    lines = [_row(heads, sizes), "  ".join("-" * size for size in sizes)]
    return "\n".join([*lines, *(_row(row, sizes) for row in rows)])


def _row(cells: Sequence[str], sizes: Sequence[int]) -> str:
    broken = [textwrap.wrap(cell, size) or [""] for cell, size in zip(cells, sizes, strict=True)]
    height = max(len(lines) for lines in broken)
    out = []
    for n in range(height):
        words = [(lines[n] if n < len(lines) else "").ljust(size) for lines, size in zip(broken, sizes, strict=True)]
        out.append("  ".join(words).rstrip())
    return "\n".join(out)
