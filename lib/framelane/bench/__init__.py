"""``framelane bench NAME``: figures of this machine, each beside a peer or a control measured in the same run."""

from __future__ import annotations

import difflib
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from framelane.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

NAMES = ("attention", "engine", "faceswap", "motion", "pose", "tracking")


def run(name: str, as_json: bool, faithfulness: bool = False, quick: bool = False) -> None:
    """Measure and print.

    Args:
        name: one of :data:`NAMES`: a module here with ``measure()`` and ``tables()``.
        as_json: print the figures as one JSON object instead of as tables.
        faithfulness: of ``attention`` only: whether the model uses what the maps show, instead of where they point.
        quick: of ``faceswap`` only: without the network of real size.

    Raises:
        UsageError: there is no such benchmark; the text gives the nearest. Or it has no such form.
        FramelaneError: something that is measured did not work.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no benchmark {name!r}; there are {', '.join(NAMES)}.{hint}")
    if faithfulness and name != "attention":
        raise UsageError(f"--faithfulness belongs to the benchmark attention, not to {name}.")
    if quick and name != "faceswap":
        raise UsageError(f"--quick belongs to the benchmark faceswap, not to {name}.")
    bench = import_module(f"framelane.bench.{'faithfulness' if faithfulness else name}")
    from framelane.bench.about import about

    title = f"{name}{' --faithfulness' if faithfulness else ''}{' --quick' if quick else ''}"
    figures: dict[str, Any] = {"bench": title, **about(), **(bench.quick() if quick else bench.measure())}
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    _show([*bench.tables(figures), *figures.get("sentences", [])], figures)


def _show(parts: list[Table | str], figures: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    machine = figures["machine"]
    console.print(f"{figures['date']}  {machine['cpu']}, {machine['cores']} cores", highlight=False)
    for part in parts:
        console.print(part, highlight=False)
    console.print(", ".join(f"{k} {v}" for k, v in figures["versions"].items()), style="dim", highlight=False)
