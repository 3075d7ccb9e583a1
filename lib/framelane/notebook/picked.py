"""What was picked the last time, so that running a cell again goes on with it, not with what its form says.

It lies beside the results, where it outlives the kernel and, in Drive, the session. Who agreed to a face is not written
there: within a kernel that is known, and after it it is asked for again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framelane.jobs.ledger import STATE
from framelane.notebook.asking import kept

_NAME = "picked.json"
_TEXTS = ("processor", "mode", "profile", "budget", "source", "output")


def remember(form: Mapping[str, Any], picked: Mapping[str, Any]) -> None:
    """Keep what was picked.

    Args:
        form: what the cell said, with its processor.
        picked: what it became, with ``processor``, as the picker takes it.
    """
    kept["picked"] = (_key(form), dict(picked))
    told = {key: str(value) if key in _TEXTS else value for key, value in picked.items() if key != "consent"}
    place = Path(picked["output"]) / STATE
    with contextlib.suppress(OSError, TypeError, ValueError):  # a full or lost disk: then the form is what counts
        place.mkdir(parents=True, exist_ok=True)
        part = place / f"{_NAME}.part"
        part.write_text(json.dumps({"form": _key(form), "picked": told}), encoding="utf-8")
        part.replace(place / _NAME)


def remembered(form: Mapping[str, Any], output: Path) -> dict[str, Any] | None:
    """What was picked where the cell said the same; None where it said something else, or nothing is known.

    Args:
        form: what the cell says, with its processor.
        output: the folder of its results.
    """
    key = _key(form)
    if kept.get("picked", ("",))[0] == key:
        return dict(kept["picked"][1])
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        told = json.loads((output / STATE / _NAME).read_text(encoding="utf-8"))
        if told["form"] == key and all(isinstance(told["picked"].get(name, ""), str) for name in _TEXTS):
            found = {**told["picked"], "output": Path(told["picked"]["output"])}
            if "source" in found:
                found["source"] = Path(found["source"])
            return {**form, **found}
    return None


def _key(form: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in form.items() if key != "consent"}, sort_keys=True, default=str)
