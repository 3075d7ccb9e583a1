"""Jobs as tasks of a Ray cluster, on an output folder that all its machines share."""

from __future__ import annotations

import importlib
import os
import queue
import threading
from collections.abc import Iterator
from typing import Any

from framelane.engine.events import Event, Listener
from framelane.errors import UsageError, chain
from framelane.jobs.spec import JobSpec, Outcome

_POLL_S = 0.2


class RayExecutor:
    """Runs the same jobs as Ray tasks: with a GPU each where the cluster has any, else a machine at a time each.

    The clips and the output folder must have the same paths on every machine. The claims are this process's, and a job
    ends with it: Ray ends the tasks of a driver that is gone.

    Args:
        address: of the cluster, as ``ray.init`` takes it; None is what ``RAY_ADDRESS`` names, else this machine alone.
        imports: modules that a task imports first, for processors of your own.

    Raises:
        UsageError: Ray is not installed, or no cluster answers there.
    """

    def __init__(self, address: str | None = None, imports: tuple[str, ...] = ()) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError("Ray is not installed; install it with: pip install 'framelane[ray]'.") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UsageError(
                    f"No Ray cluster can be used at {address or 'this machine'} ({chain(error)})."
                ) from error
        self._ray = ray
        self._imports = imports
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        self.slots = max(1, gpus or len(nodes))
        # Without GPUs a job takes all cores of the smallest machine, for it uses them.
        cpus = min((node["Resources"]["CPU"] for node in nodes), default=1)
        needs = {"num_gpus": 1} if gpus else {"num_cpus": cpus}
        # A dead task is told to the batch, which tries once more from the finished segments; Ray must not.
        self._task: Any = ray.remote(max_retries=0, num_returns="streaming", **needs)(_task)

    def run(self, job: JobSpec, listener: Listener, cancel: threading.Event) -> Outcome:
        """See :class:`framelane.jobs.spec.Executor`."""
        ray, asked = self._ray, False
        stream = self._task.remote(job.to_json(), self._imports)
        try:
            while True:
                if cancel.is_set() and not asked:
                    ray.cancel(stream, force=False)
                    asked = True
                if not ray.wait([stream], timeout=_POLL_S, fetch_local=False)[0]:
                    continue
                message = ray.get(next(stream))
                if "outcome" in message:
                    return Outcome.from_json(message["outcome"])
                listener(Event(message["event"]))
        except (ray.exceptions.RayError, StopIteration) as error:
            if asked:
                return Outcome("cancelled", "Cancelled; finished segments are kept.")
            return Outcome("died", f"The Ray task died ({chain(error)}).")

    def close(self) -> None:
        """Leave the cluster, if it was us who joined it."""
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()


def _task(spec: dict[str, Any], imports: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One job, in a process of Ray: its events as they come, then its outcome."""
    from framelane.jobs.carry import carry_out
    from framelane.jobs.worker import process
    from framelane.models import kept

    for name in imports:
        importlib.import_module(name)
    kept.keep()  # Ray runs the next task in the same process where it can
    said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    cancel = threading.Event()

    def work() -> None:
        outcome = carry_out(
            JobSpec.from_json(spec), process, listener=lambda event: said.put({"event": dict(event)}), cancel=cancel
        )
        said.put({"outcome": outcome.to_json()})

    thread = threading.Thread(target=work, name="job")
    thread.start()
    try:
        while True:
            message = said.get()
            yield message
            if "outcome" in message:
                return
    finally:  # Ray cancels a task by KeyboardInterrupt
        cancel.set()
        thread.join()
