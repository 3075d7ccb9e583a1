"""A folder of clips, one job each: :func:`process_folder`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from framelane.engine.controls import Controls
from framelane.engine.events import Event
from framelane.errors import UsageError
from framelane.jobs.batch_run import BatchRun
from framelane.jobs.notify import hook
from framelane.jobs.order import Order
from framelane.jobs.plan import Plan
from framelane.jobs.planning import Wanted
from framelane.jobs.session import parse_budget
from framelane.jobs.spec import LOCAL_NAME, Executor
from framelane.jobs.state import BatchResult
from framelane.jobs.storage import Files
from framelane.processors.base import create

EXECUTORS = ("local", "ray")


def process_folder(
    folder: str | Path,
    processor: str,
    *,
    output: str | Path,
    mode: str | None = None,
    profile: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    order: str = "name",
    budget: str | float | None = None,
    restart: bool = False,
    dry_run: bool = False,
    executor: str | Executor = "local",
    address: str | None = None,
    progress: Callable[[Event], None] | None = None,
    cancel: threading.Event | None = None,
    controls: Controls | None = None,
    on_done: str | None = None,
    planned: Callable[[Plan], None] | None = None,
    files: Files | None = None,
) -> BatchResult:
    """Process every clip of a folder. What is done is not done again; what was interrupted goes on.

    Args:
        folder: searched with everything below it, by probing. A clip ``NAME.mp4`` may have settings of its own in
            ``NAME.yaml`` beside it: stronger than ``config``, weaker than ``overrides``.
        processor: for example ``"attention"``.
        output: the output folder; it gets the folder's tree and names, and ``index.html``.
        mode: ``"fast"``, ``"balanced"`` or ``"quality"``.
        profile: what the hardware allows; None or ``"auto"`` looks at the machine.
        config: a YAML file of settings.
        overrides: dotted keys, as in ``{"attention.method": "rollout"}``.
        include: patterns of the clips to take, as in ``"trip/*"``; all where there is none.
        exclude: patterns of what is not taken.
        order: ``"name"``, ``"shortest"`` or ``"oldest"`` first.
        budget: how long the session lasts, as in ``"80m"``; what does not fit waits for the next one. None is no limit.
        restart: do what is done again, and replace its outputs.
        dry_run: only say what would be done; nothing is written.
        executor: ``"local"``, ``"ray"``, or one of your own.
        address: of the Ray cluster; None is this machine, or what ``RAY_ADDRESS`` names.
        progress: called with every event, in this thread: each job's own with ``job``, and ``batch`` events.
        cancel: set it to stop; what is finished is kept.
        controls: to pause, go on, stop after a clip or cancel, from any thread.
        on_done: a command or a web address that is told at the end, see :func:`framelane.jobs.notify.hook`.
        planned: is given the plan before the first job, where there is a budget.
        files: the way to the storage of the folders; None finds it.

    Returns:
        Every job and what became of it. A job that failed raises nothing.

    Raises:
        UsageError: something given is wrong; nothing was started.
        FramelaneError: the output folder cannot be used.
        Cancelled: it was cancelled, or Ctrl-C came; calling again goes on.
    """
    created = create(processor)
    if isinstance(executor, str) and executor not in EXECUTORS:
        raise UsageError(f"--executor {executor!r} is unknown; allowed are {', '.join(EXECUTORS)}.")
    parse_budget(budget)
    wanted = Wanted(mode, profile, config, dict(overrides or {}))
    created.require(
        wanted.loaded().settings, Path(LOCAL_NAME)
    )  # whatever a sidecar says is looked at again by each job
    asked = Order(
        Path(folder), processor, Path(output), wanted, tuple(include), tuple(exclude), order, budget, restart, dry_run,
        hook(on_done) if on_done else None, files, planned or (lambda _: None),
    )  # fmt: skip
    if controls is not None and cancel is not None:
        raise UsageError("Give either cancel or controls: controls.cancel() cancels, too.")
    controls = controls or Controls(cancel)
    run = BatchRun(asked, progress or (lambda _: None), controls)
    return run.run(lambda: _executor(executor, address, files))


def _executor(wanted: str | Executor, address: str | None, files: Files | None) -> Executor:
    if not isinstance(wanted, str):
        return wanted
    if wanted == "ray":
        from framelane.jobs.ray_executor import RayExecutor

        return RayExecutor(address)
    from framelane.jobs.executors import LocalExecutor

    return LocalExecutor(files=files)
