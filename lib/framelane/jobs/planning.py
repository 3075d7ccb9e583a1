"""From a folder to its plan: find, know or measure what jobs cost, and plan.

``framelane plan`` and every batch begin so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from framelane.engine.events import Event
from framelane.errors import FramelaneError, UsageError
from framelane.jobs.discover import Discovery, Found, find_clips, nothing_found, one_clip, ordered
from framelane.jobs.figures import Figures, fit
from framelane.jobs.ledger import Ledger
from framelane.jobs.measure import Run, measure
from framelane.jobs.plan import Known, Plan, make_plan
from framelane.jobs.remembered import kind_of_job, remember, remembered
from framelane.jobs.session import DEFAULT_BUDGET, parse_budget, session_clock
from framelane.jobs.standing import identify, segments_done
from framelane.jobs.storage import files_for
from framelane.jobs.walk import Skipped
from framelane.processors.base import create
from framelane.run import load_settings, process_video
from framelane.settings import Loaded, flatten, load, read_yaml
from framelane.video.writer import EXTENSIONS


@dataclass(frozen=True)
class Wanted:
    """What the user gave of settings, before layers are merged.

    Attributes:
        mode: as in :func:`framelane.process_video`.
        profile: the same.
        config: a YAML file of settings, or None.
        overrides: dotted keys.
    """

    mode: str | None = None
    profile: str | None = None
    config: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        """The merged settings of clips that have none of their own.

        Raises:
            UsageError: an unknown key or a value out of range.
        """
        return load_settings(self.mode, self.profile, self.config, self.overrides)

    def overrides_for(self, found: Found) -> dict[str, Any]:
        """The dotted keys for a clip: those of its own YAML, stronger than the config, weaker than what was given.

        Raises:
            UsageError: its YAML is wrong; the text names the file.
        """
        if found.settings is None:
            return dict(self.overrides)
        load(config=found.settings)  # by itself first: its errors then name the file
        given = {key: value for key, value in (("mode", self.mode), ("profile", self.profile)) if value}
        return {**flatten(read_yaml(found.settings)), **self.overrides, **given}

    def loaded_for(self, found: Found) -> Loaded:
        """The merged settings of a clip; see :meth:`overrides_for`."""
        return load_settings(self.mode, self.profile, self.config, self.overrides_for(found))


def find(
    source: str | Path,
    output: str | Path | None = None,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    order: str = "name",
) -> Discovery:
    """The clips of a folder in the order in which they are to be processed; or a single clip.

    Raises:
        UsageError: there is nothing at ``source``, or no clip in it.
        FramelaneError: it is a file but no clip.
    """
    path = Path(source)
    if not path.exists():
        raise UsageError(f"There is no folder and no clip {path}.")
    if not path.is_dir():
        if output is not None and Path(output).suffix.lower() not in EXTENSIONS:
            output = None
        return one_clip(path, output)
    discovery = find_clips(path, output, include=include, exclude=exclude)
    if not discovery.found:
        raise UsageError(nothing_found(path, discovery))
    return replace(discovery, found=ordered(discovery.found, order))


def plan_clips(
    source: str | Path,
    processor: str,
    *,
    output: str | Path | None = None,
    wanted: Wanted | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    order: str = "name",
    budget: str | float | None = DEFAULT_BUDGET,
    again: bool = False,
    listener: Callable[[Event], None] = lambda _: None,
    cancel: threading.Event | None = None,
) -> Plan:
    """Find the clips and plan the session, without what the output folder has already.

    Args:
        source: a folder, or one clip.
        processor: what happens to the clips.
        output: the output folder, or file; None where there is none yet.
        wanted: the settings.
        include: as in :func:`~framelane.jobs.discover.find_clips`.
        exclude: the same.
        order: as in :func:`~framelane.jobs.discover.ordered`.
        budget: as :func:`~framelane.jobs.session.parse_budget` reads it; None is no limit.
        again: measure even where this machine's figures are remembered.
        listener: takes the events of measuring, in this thread.
        cancel: set it to stop.

    Raises:
        UsageError: something given is wrong.
        DriveGone: the storage of the output folder does not answer.
        FramelaneError: no clip could be measured.
        Cancelled: it was cancelled.
    """
    create(processor)
    discovery = find(source, output, include=include, exclude=exclude, order=order)
    given = wanted or Wanted()
    more: dict[str, Any] = {}
    if output is not None and Path(source).is_dir() and Path(output).is_dir():
        out = Path(output)
        files = files_for(out)
        settings, identity = given.loaded(), identify(processor)
        discovery, own = _own_settings(discovery, given)
        begun = {
            found.relative: segments_done(out, identity(found, own.get(found.relative, settings)), files)
            for found in discovery.found
        }
        more = {"ledger": Ledger(out, files), "identify": identity, "segments_done": begun}
    return plan_found(discovery, processor, given, budget=budget, again=again, listener=listener, cancel=cancel, **more)


def plan_found(
    discovery: Discovery,
    processor: str,
    given: Wanted,
    *,
    budget: str | float | None = DEFAULT_BUDGET,
    again: bool = False,
    ledger: Known | None = None,
    identify: Callable[[Found, Loaded], str] | None = None,
    segments_done: Mapping[PurePosixPath, int] | None = None,
    listener: Callable[[Event], None] = lambda _: None,
    cancel: threading.Event | None = None,
    run: Run = process_video,
) -> Plan:
    """:func:`plan_clips` for clips that are found already.

    What has to be measured is processed by ``run``, which is called as :func:`framelane.process_video` is.
    """
    budget_s = parse_budget(budget)
    loaded = given.loaded()
    discovery, own_settings = _own_settings(discovery, given)
    waiting = [f for f in discovery.found if not _is_done(f, own_settings.get(f.relative, loaded), ledger, identify)]
    figures = _figures(waiting, loaded, processor, own_settings, again, listener, cancel, run)
    own = {relative: (settings, _recall(settings, processor) or figures) for relative, settings in own_settings.items()}
    clock = session_clock(budget_s)
    return make_plan(
        discovery, loaded, processor, budget_s=budget_s, elapsed_s=clock.elapsed(), figures=figures, ledger=ledger,
        identify=identify, own=own, segments_done=segments_done, since=clock.since,
    )  # fmt: skip


def _is_done(
    found: Found, loaded: Loaded, ledger: Known | None, identify: Callable[[Found, Loaded], str] | None
) -> bool:
    return ledger is not None and identify is not None and ledger.finished(identify(found, loaded)) is not None


def _own_settings(discovery: Discovery, wanted: Wanted) -> tuple[Discovery, dict[PurePosixPath, Loaded]]:
    """The settings of clips that have their own; a clip whose YAML is wrong is skipped, and the rest go on."""
    kept, skipped, own = [], list(discovery.skipped), {}
    for found in discovery.found:
        try:
            if found.settings is not None:
                own[found.relative] = wanted.loaded_for(found)
            kept.append(found)
        except UsageError as error:
            skipped.append(Skipped(found.relative, f"Its own settings are wrong: {error}"))
    return replace(discovery, found=kept, skipped=skipped), own


def _recall(loaded: Loaded, processor: str) -> Figures | None:
    figures = remembered(kind_of_job(loaded, processor))
    return figures if figures is not None and figures.cover(loaded) else None


def _figures(
    waiting: list[Found],
    loaded: Loaded,
    processor: str,
    own: Mapping[PurePosixPath, Loaded],
    again: bool,
    listener: Callable[[Event], None],
    cancel: threading.Event | None,
    run: Run,
) -> Figures:
    """This machine's figures: remembered, or measured on the first clip that can be processed."""
    if not again and (known := _recall(loaded, processor)) is not None:
        return known
    if not waiting:
        return Figures(0, 0, 0, 0, 0, spread=0, source="not needed: nothing is left to do")
    problem = FramelaneError("")
    plain = [found for found in waiting if found.relative not in own] or waiting
    for found in plain[:3]:  # a clip that breaks must not keep the others from being planned
        settings = own.get(found.relative, loaded)
        try:
            seen = measure(found.path, processor, settings, listener=listener, cancel=cancel, run=run)
        except UsageError:
            raise
        except FramelaneError as error:
            if error.exit_code != FramelaneError.exit_code:
                raise
            problem = error
            continue
        key = kind_of_job(settings, processor)
        remember(key, seen)
        source = f"measured just now on the first seconds of {found.relative.name}"
        return fit([seen], source) if again else replace(remembered(key) or fit([seen], source), source=source)
    raise problem
