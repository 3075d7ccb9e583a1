"""What was asked of a batch, and the jobs that follow from it: one for every clip, and what cannot be taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from framelane import settings as settings_module
from framelane.errors import FramelaneError, chain
from framelane.jobs.discover import Discovery, Found
from framelane.jobs.files import Files
from framelane.jobs.notify import Hook
from framelane.jobs.plan import Plan
from framelane.jobs.planning import Wanted
from framelane.jobs.sniff import named_like_a_clip
from framelane.jobs.spec import JobSpec
from framelane.jobs.standing import identify
from framelane.jobs.state import JobState
from framelane.video.clip import fingerprint


@dataclass(frozen=True)
class Order:
    """What was asked for."""

    folder: Path
    processor: str
    out: Path
    wanted: Wanted
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    order: str = "name"
    budget: str | float | None = None
    restart: bool = False
    dry_run: bool = False
    hook: Hook | None = None
    files: Files | None = None
    planned: Callable[[Plan], None] = lambda _: None


def jobs_of(order: Order, discovery: Discovery) -> list[JobState]:
    """A job for every clip, in the order of the discovery; then what was found and cannot be taken.

    What is wrong with one clip or with its own settings makes its job a failed one, and no other.
    """
    return [_job(order, found) for found in discovery.found] + _not_taken(order, discovery)


def _job(order: Order, found: Found) -> JobState:
    job = JobState(str(found.output), found.path, order.out / found.output, found=found)
    try:
        loaded = order.wanted.loaded_for(found)
        config = order.wanted.config
        given = settings_module.flatten(settings_module.read_yaml(Path(config))) if config else {}
        job.content = fingerprint(found.path)
        job.spec = JobSpec(
            name=str(found.output),
            clip=str(found.path.absolute()),
            processor=order.processor,
            out=str(order.out.absolute()),
            identity=identify(order.processor)(found, loaded, job.content),
            mode=order.wanted.mode,
            profile=order.wanted.profile,
            overrides={**given, **order.wanted.overrides_for(found)},
        )
    except (FramelaneError, OSError) as error:
        job.state = "failed"
        job.reason = str(error) if isinstance(error, FramelaneError) else f"It cannot be read ({chain(error)})."
    return job


def _not_taken(order: Order, discovery: Discovery) -> list[JobState]:
    """What was found but cannot be taken: failed where somebody would expect a result of it."""
    jobs = []
    for skipped in discovery.skipped:
        path = order.folder / skipped.relative
        expected = named_like_a_clip(path.name) and path.is_file() and not path.is_symlink()
        jobs.append(
            JobState(
                str(skipped.relative), path, order.out / skipped.relative, "failed" if expected else "skipped",
                skipped.reason,
            )
        )  # fmt: skip
    return jobs
