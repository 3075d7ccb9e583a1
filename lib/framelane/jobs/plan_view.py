"""A plan as a box for the terminal, and as plain data."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from rich import box as boxes
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from framelane.jobs.plan import Plan, PlannedJob, State
from framelane.jobs.session import spoken

_STYLES = {State.DONE: "dim", State.FITS: "green", State.PART: "yellow", State.NEXT: "cyan"}
_SHOWN_SKIPPED = 10


def plan_box(plan: Plan) -> RenderableType:
    """The whole plan, boxed: a row a clip, what fits, what is left, and what was skipped."""
    parts: list[RenderableType] = [_jobs(plan), _summary(plan)]
    if plan.skipped:
        parts.append(_skipped(plan))
    return Panel(Group(*parts), title=f"framelane plan: {escape(plan.processor)}", box=boxes.ROUNDED, padding=(0, 1))


def plan_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data that ``json.dumps`` takes. Times are in seconds, sizes in bytes or (width, height)."""
    return {
        "processor": plan.processor,
        "budget_s": plan.budget_s,
        "elapsed_s": round(plan.elapsed_s, 1),
        "counted_from": plan.since,
        "startup_s": round(plan.startup_s, 2),
        "total_s": round(plan.total_s, 1),
        "admitted_s": round(plan.admitted_s, 1),
        "left_over_s": round(plan.left_over_s, 1),
        "jobs": [_job_data(job) for job in plan.jobs],
        "skipped": [{"clip": str(item.relative), "reason": item.reason} for item in plan.skipped],
        "other_files": plan.others,
        "figures": asdict(plan.figures),
    }


def plan_sentence(plan: Plan) -> str:
    """The plan in one line."""
    counts = ", ".join(f"{plan.count(state)} {state.value}" for state in State if plan.count(state))
    return f"Of {len(plan.jobs)} jobs: {counts or 'none'}; {_budget(plan)}."


def _job_data(job: PlannedJob) -> dict[str, Any]:
    clip = job.found.clip
    return {
        "clip": str(job.found.relative),
        "output": str(job.found.output),
        "settings": str(job.found.settings) if job.found.settings else None,
        "duration_s": round(_seconds(job), 3) if job.frames else None,
        "frames": job.frames or None,
        "resolution": list(clip.display_size),
        "working_size": list(job.working_size or clip.display_size),
        "bytes": job.found.size,
        "segments": job.segments if job.frames else None,
        "segments_done": job.segments_done,
        "seconds": None if job.seconds is None else round(job.seconds, 1),
        "seconds_between": None if job.interval is None else [round(v, 1) for v in job.interval],
        "state": job.state.value,
        "segments_now": job.segments_now if job.state is State.PART else None,
        "seconds_now": round(job.seconds_now, 1),
    }


def _jobs(plan: Plan) -> Table:
    table = Table(box=boxes.SIMPLE_HEAD, expand=True, pad_edge=False, collapse_padding=True, padding=(0, 1, 0, 0))
    table.add_column("clip", overflow="fold", ratio=1, min_width=14)
    for heading in ("length", "size", "worked\nat", "MB", "seg-\nments", "takes"):
        table.add_column(heading, justify="right", no_wrap=True)
    # As wide as what it says: the names need every column that is left.
    table.add_column("this\nsession", no_wrap=True)
    for job in plan.jobs:
        table.add_row(*_row(job))
    return table


def _row(job: PlannedJob) -> tuple[RenderableType, ...]:
    width, height = job.found.clip.display_size
    worked = "{}x{}".format(*job.working_size) if job.working_size else "same"
    segments = f"{job.segments - job.segments_done}\nof {job.segments}" if job.segments_done else str(job.segments)
    takes = "unknown" if job.seconds is None else spoken(job.seconds)
    said = job.state.value
    if job.state is State.PART:
        many = "1 segment" if job.segments_now == 1 else f"{job.segments_now} segments"
        said = f"{many}, {spoken(job.seconds_now)}"
    return (
        Text(shown(job.found.relative)),
        _length(job),
        f"{width}x{height}",
        worked,
        f"{job.found.size / 1e6:.1f}",
        segments if job.frames else "?",
        "" if job.state is State.DONE else takes,
        Text(said, style=_STYLES[job.state]),
    )


def _seconds(job: PlannedJob) -> float:
    return job.found.clip.duration or job.frames / float(job.found.clip.rate)


def _length(job: PlannedJob) -> str:
    if not job.frames:
        return "unknown"
    minutes, seconds = divmod(round(_seconds(job)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def _summary(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, expand=True)
    table.add_column(style="cyan", no_wrap=True, width=12)
    table.add_column(overflow="fold", ratio=1)
    counts = ", ".join(f"{plan.count(state)} {state.value}" for state in State if plan.count(state))
    table.add_row("Jobs", counts or "none")
    started = f" ({spoken(plan.startup_s)} of it to start and load the models)" if plan.startup_s >= 0.5 else ""
    table.add_row("Total", f"{spoken(plan.total_s)}{started if plan.total_s else ''}")
    table.add_row("Budget", escape(_budget(plan)))
    table.add_row("Fits", f"{spoken(plan.admitted_s)} of work")
    table.add_row("Next time", spoken(plan.left_over_s) if plan.left_over_s >= 0.5 else "nothing is left")
    error = f"; about ±{100 * plan.figures.spread:.0f} %" if plan.figures.spread else ""
    table.add_row("Times are", escape(f"{plan.figures.source}{error}"))
    return table


def _budget(plan: Plan) -> str:
    if plan.budget_s is None:
        return "no limit"
    left = spoken(plan.room_s(plan.elapsed_s))
    return f"{left} left of {spoken(plan.budget_s)}, counted from {plan.since or 'the start of the session'}"


def _skipped(plan: Plan) -> Table:
    table = Table(title=f"Skipped: {len(plan.skipped)}", title_justify="left", box=boxes.SIMPLE_HEAD, expand=True)
    table.add_column("file", overflow="fold", ratio=1)
    table.add_column("why", overflow="fold", ratio=2)
    for item in plan.skipped[:_SHOWN_SKIPPED]:
        table.add_row(Text(shown(item.relative)), Text(shown(item.reason)))
    if len(plan.skipped) > _SHOWN_SKIPPED:
        table.add_row(f"and {len(plan.skipped) - _SHOWN_SKIPPED} more", "--json shows all")
    return table


def shown(name: str | Path | PurePosixPath) -> str:
    """A file name on one line: control characters, and what is no UTF-8, as escapes: no name can draw on a terminal."""
    text = os.fsencode(str(name)).decode("utf-8", errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
