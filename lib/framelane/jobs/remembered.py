"""Figures that are remembered: one small file in the cache, by machine, processor, profile and settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from framelane.container import usable_cores
from framelane.gpu import find_gpu
from framelane.jobs.figures import Figures, Observation, fit
from framelane.machine import cpu_model
from framelane.models.files import read_record, write_record
from framelane.processors.base import create
from framelane.resources import cache_dir
from framelane.settings import Loaded, flatten

_KEPT_JOBS, _KEPT_CLASSES = 20, 40
# Settings that do not change how long frames take, so that figures are shared over them.
_FREE = {
    "output.overwrite", "output.require_gpu", "attention.colour", "attention.alpha", "attention.object_alpha",
    "attention.object_shadow", "attention.legend", "attention.trail_s", "attention.gap_s",
}  # fmt: skip


def kind_of_job(loaded: Loaded, processor: str) -> str:
    """A key for jobs that cost the same: machine, processor and its version, profile, and the settings that matter."""
    gpu = find_gpu()[0]
    values = {
        key: value
        for key, value in flatten(loaded.settings.model_dump()).items()
        if key.split(".")[0] in (processor, "hardware", "output") and key not in _FREE
    }
    facts = [
        cpu_model(), usable_cores(), gpu.name if gpu else None, processor, create(processor).version,
        loaded.settings.profile, values,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def store_path() -> Path:
    """Where figures are remembered."""
    return cache_dir() / "throughput.json"


def remembered(key: str) -> Figures | None:
    """What earlier jobs of this kind say; None where there was none.

    Args:
        key: from :func:`kind_of_job`.
    """
    seen = _observations(_stored().get(key))
    if not seen:
        return None
    jobs = sum(not o.head for o in seen)
    what = f"{jobs} job{'s' if jobs != 1 else ''} on this machine" if jobs else "an earlier measurement on this machine"
    return fit(seen, f"remembered of {what}")


def remember(key: str, seen: Observation) -> None:
    """Add an observation; the file is replaced in one step. Two processes at once may lose one of the two.

    Only what is remembered suffers where the cache cannot be written, so that is no error.
    """
    kinds = _stored()
    kept = [asdict(o) for o in [*_observations(kinds.pop(key, None)), seen][-_KEPT_JOBS:]]
    newest = [*kinds.items(), (key, kept)][-_KEPT_CLASSES:]
    try:
        write_record(store_path(), {"version": 1, "kinds": dict(newest)})
    except OSError:
        return


def _stored() -> dict[str, Any]:
    data = read_record(store_path()) or {}
    kinds = data.get("kinds")
    return kinds if data.get("version") == 1 and isinstance(kinds, dict) else {}


def _observations(data: Any) -> list[Observation]:
    """What can be read of it: a file that somebody cut or changed must not stop a plan."""
    found = []
    names = {f.name for f in fields(Observation)}
    for item in data if isinstance(data, list) else []:
        try:
            seen = Observation(**{k: v for k, v in item.items() if k in names})
            if seen.sound():
                found.append(seen)
        except (TypeError, AttributeError, OverflowError):
            continue
    return found
