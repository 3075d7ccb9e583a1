"""What a choice costs on this machine, and which profile fits it: asked of a child process.

To know that takes PyTorch and the clips' headers, and to measure it takes the models. None of it belongs into the kernel,
so it is done by ``python -m framelane.notebook.estimate``, which answers JSON lines with JSON lines until its input ends:

``{"id": 1, "ask": "profile"}``
    is answered with ``profile`` and ``why``
``{"id": 2, "ask": "costs", "processor": …, "source": …, "modes": […], "measure": false, …}``
    is answered for each mode with ``mode`` and ``plan`` (see :func:`framelane.jobs.plan_view.plan_data`, with how many
    clips there are in place of the clips), with ``unknown`` where nothing is remembered and nothing was to be measured, or
    with ``problem``, a sentence

and every answer is ended by ``{"id": …, "end": true}``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

from framelane.errors import FramelaneError, chain
from framelane.obituary import cause_of_death

Said = dict[str, Any]
_ENDS_S = 1.5  # that it may take to tidy up after itself


class Estimates:
    """The child process, started when it is first asked, and again where it has died.

    Only the newest question of a kind counts: an answer to an older one is thrown away.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._newest: dict[str, int] = {}
        self._waiting: dict[str, Said] = {}
        self._working: Said | None = None
        self._count = 0

    def ask(self, kind: str, **question: Any) -> None:
        """Ask; the answer comes out of :meth:`poll`.

        Args:
            kind: ``profile`` or ``costs``.
            **question: what else the child must know.
        """
        self._count += 1
        self._newest[kind] = self._count
        self._waiting[kind] = {"id": self._count, "ask": kind, **question}
        self._send()

    def poll(self) -> list[Said]:
        """What was answered since it was last asked; never waits. ``ask`` says what it answers."""
        found = []
        while True:
            try:
                said = self._answers.get_nowait()
            except queue.Empty:
                break
            asked = self._working
            if asked is None or said.get("process") != (self._process.pid if self._process else None):
                continue
            if "died" in said:
                said["id"] = asked["id"]
            if said.get("id") != asked["id"]:
                continue
            if asked["id"] == self._newest[asked["ask"]]:
                found.append({**said, "ask": asked["ask"]})
            if "end" in said or "died" in said:
                self._working = None
                self._process = None if "died" in said else self._process
        self._send()
        return found

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._working or self._waiting)

    def close(self) -> None:
        """End the process, in the middle of measuring if it is there."""
        process, self._process = self._process, None
        self._waiting, self._working = {}, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(2 * _ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()

    def _send(self) -> None:
        """Hand the next question over, once the one before is answered."""
        if self._working is not None or not self._waiting:
            return
        kind = min(self._waiting, key=lambda kind: self._waiting[kind]["id"])
        self._working = self._waiting.pop(kind)
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps(self._working) + "\n")
            process.stdin.flush()
        except (OSError, ValueError) as error:
            pid = self._process.pid if self._process else None
            self._answers.put({"process": pid, "died": None, "problem": f"{chain(error)}."})

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "framelane.notebook.estimate"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,  # the notebook's interrupt is for the cell alone
            )  # fmt: skip
            threading.Thread(target=_read, args=(self._process, self._answers), daemon=True).start()
        return self._process


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[Said]) -> None:
    """Take answers as they come; no widget is touched here."""
    with contextlib.suppress(OSError, ValueError):
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):
                answers.put({**json.loads(line), "process": process.pid})
    code = process.wait()
    answers.put({"process": process.pid, "died": code})


# -- in the child --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come among the answers
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for line in sys.stdin:
            question = json.loads(line)
            for answer in itertools.chain(_safely(question), [{"end": True}]):
                _tell(out, {**answer, "id": question["id"]})


def _tell(out: IO[str], said: Said) -> None:
    out.write(json.dumps(said) + "\n")
    out.flush()


def _safely(question: Mapping[str, Any]) -> Iterator[Said]:
    try:
        yield from profile() if question["ask"] == "profile" else costs(question)
    except FramelaneError as error:
        yield {"problem": str(error)}
    except Exception as error:  # whatever a library raises must not end the process
        yield {"problem": f"{chain(error)}."}


def profile() -> Iterator[Said]:
    """The profile that fits, and why."""
    from framelane.machine import detected_profile

    name, why = detected_profile()
    yield {"profile": name, "why": why}


def costs(question: Mapping[str, Any]) -> Iterator[Said]:
    """A plan of all clips for each mode, as if nothing were done yet.

    Args:
        question: ``processor``, ``source``, ``profile``, ``overrides``, ``budget``, ``include``; ``modes``; ``measure``
            and the ``commands`` that measure, one for each mode.

    Raises:
        UsageError: there is no clip, or something given is wrong.
    """
    from framelane.jobs.plan_view import plan_data
    from framelane.jobs.planning import Wanted, find, plan_found
    from framelane.jobs.remembered import kind_of_job, remembered
    from framelane.processors.base import create

    processor = str(question["processor"])
    create(processor)
    discovery = find(question["source"], question.get("output"), include=question.get("include") or ())
    profile = None if question.get("profile") == "auto" else question.get("profile")
    for mode in question["modes"]:
        wanted = Wanted(mode, profile, None, question.get("overrides") or {})
        try:
            loaded = wanted.loaded()
            figures = remembered(kind_of_job(loaded, processor))
            if figures is not None and figures.cover(loaded):
                made = plan_data(plan_found(discovery, processor, wanted, budget=question.get("budget")))
                yield {"mode": mode, "plan": _in_short(made)}
            elif question.get("measure"):
                yield {"mode": mode, "plan": _in_short(_measured(question["commands"][mode]))}
            else:
                yield {"mode": mode, "unknown": True}
        except FramelaneError as error:
            yield {"mode": mode, "problem": str(error)}


def _in_short(plan: Said) -> Said:
    """A plan without its clips: a folder may hold thousands of them, and a card says how many."""
    states = [job["state"] for job in plan["jobs"]]
    kept = {key: value for key, value in plan.items() if key not in ("jobs", "skipped")}
    return {**kept, "clips": len(states), "fit": states.count("fits"), "skipped": len(plan["skipped"])}


def _measured(command: list[str]) -> Said:
    """What ``framelane plan`` prints, in a process of its own: loading the models is a part of what is measured.

    Raises:
        FramelaneError: it could not be measured.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "framelane", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            printed = process.communicate()[0]
        except KeyboardInterrupt:
            process.terminate()  # it then tidies up after itself
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_S)
            process.kill()
            raise
        errors.seek(0)
        lines = [line for line in errors.read().splitlines() if line.strip()]
    if process.returncode:
        last = lines[-1] if lines else ""
        if last.startswith("framelane: "):
            raise FramelaneError(last.removeprefix("framelane: "))
        raise FramelaneError(cause_of_death(process.returncode, last, out_of_memory=False, what="measuring"))
    return dict(json.loads(printed))


if __name__ == "__main__":
    main()
