"""``framelane bench NAME``: figures of this machine, each beside a peer or a control measured in the same run."""

from __future__ import annotations

import difflib
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from framelane.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

NAMES = ("attention", "depth", "engine", "faceswap", "follow", "motion", "pose", "tracking", "video")


def run(name: str, as_json: bool, faithfulness: bool = False, quick: bool = False, size: str | None = None) -> None:
    """Measure and print.

    Args:
        name: one of :data:`NAMES`: a module here with ``measure()`` and ``tables()``.
        as_json: print the figures as one JSON object instead of as tables.
        faithfulness: of ``attention`` only: whether the model uses what the maps show, instead of where they point.
        quick: of ``engine``: a short clip, once; of ``faceswap``: without the network of real size; of ``video``: one size,
            one run.
        size: of ``video`` only: 720p or 1080p instead of both.

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
    if quick and name not in ("engine", "faceswap", "video"):
        raise UsageError(f"--quick belongs to the benchmarks engine, faceswap and video, not to {name}.")
    if size and name != "video":
        raise UsageError(f"--size belongs to the benchmark video, not to {name}.")
    bench = import_module(f"framelane.bench.{'faithfulness' if faithfulness else name}")
    from framelane.bench.about import about

    options = {"--faithfulness": faithfulness, "--quick": quick, f"--size {size}": size}
    title = " ".join([name, *(option for option, given in options.items() if given)])
    given: dict[str, Any] = {}
    if size:
        given = {"size": size} if quick else {"sizes": {size: bench.size_of(size)}}
    figures: dict[str, Any] = {"bench": title, **about(), **(bench.quick(**given) if quick else bench.measure(**given))}
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
