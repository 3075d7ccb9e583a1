"""A job as plain data, for pipes and other machines, and what came of it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from framelane.engine.events import Listener
from framelane.processors.base import create
from framelane.provenance.seal import signed_here
from framelane.resources import cache_dir

LOCAL_NAME = "out.mp4"
"""What the output is called in its work folder: short, so that the longest of clip names leaves room beside it."""


def work_root() -> Path:
    """The folder on the local disk of this machine that holds the work folders of all jobs."""
    return cache_dir() / "work"


def work_folder(out: Path, identity: str) -> Path:
    """The folder on the local disk of this machine in which a job is done.

    One for each output folder: two batches of the same clips into two folders have jobs of the same identities and no
    claims in common, and each ships and clears away its own.
    """
    place = hashlib.sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:16]
    return work_root() / f"{identity}-{place}"


def local_output(out: Path, identity: str) -> Path:
    """Where a job's output is made before it is shipped."""
    return work_folder(out, identity) / LOCAL_NAME


@dataclass(frozen=True)
class JobSpec:
    """One clip, one processor, one set of settings, one output; JSON-able.

    Attributes:
        name: the output's path in the output folder; what events and people call the job.
        clip: the input video.
        processor: its name.
        out: the output folder of the batch.
        identity: 64 hex digits, see ``ledger.job_identity``.
        mode: as picked by the user.
        profile: as picked by the user; None is as the user's YAML says, else detected where the job runs.
        overrides: everything else that the user set, by dotted key: the YAML's, the sidecar's, the command line's.
    """

    name: str
    clip: str
    processor: str
    out: str
    identity: str
    mode: str | None = None
    profile: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> Path:
        """The file that the job makes in the output folder."""
        return Path(self.out, self.name)

    @property
    def work(self) -> Path:
        """The folder on the local disk of this machine in which the job is done."""
        return work_folder(Path(self.out), self.identity)

    @property
    def local(self) -> Path:
        """Where the output is made before it is shipped."""
        return local_output(Path(self.out), self.identity)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JobSpec:
        """What :meth:`to_json` made."""
        return cls(**data)


def finished(job: JobSpec) -> bool:
    """Whether the job's local output is there, from a process that died before it could say so.

    A file of a processor whose outputs must say what they are is believed by its credentials only: without them it is
    removed, and made anew.
    """
    if not job.local.exists() or not create(job.processor).says_what_it_is:
        return job.local.exists()
    own = (job.overrides.get("faceswap.certificate"), job.overrides.get("faceswap.private_key"))
    if signed_here(job.local, *own):
        return True
    job.local.unlink()
    return False


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: ``"done"``, ``"failed"``, ``"cancelled"``, or ``"died"`` with the process that did it.
        reason: in words; empty where it is done.
        seconds: of this run.
        frames: of the output.
        avg_fps: frames of this run per second of this run.
        size: bytes of the output.
        sha256: of the output.
        opened: the models that were opened for it, by slot; those kept from a job before are not among them.
        card: what the batch's page shows of it beside the report: a sheet of thumbnails, speeds.
    """

    state: str
    reason: str = ""
    seconds: float = 0.0
    frames: int = 0
    avg_fps: float = 0.0
    size: int = 0
    sha256: str = ""
    opened: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """What :meth:`to_json` made."""
        return cls(**{**data, "opened": tuple(data["opened"])})


class Executor(Protocol):
    """Where jobs run.

    Attributes:
        slots: jobs that it runs at once; as many threads may call :meth:`run`.
    """

    slots: int

    def run(self, job: JobSpec, listener: Listener, cancel: threading.Event) -> Outcome:
        """Run a job to its end: staged in, processed, verified, shipped.

        Args:
            job: what to do.
            listener: takes the job's events, in the calling thread.
            cancel: set by anyone to stop; finished segments stay.
        """

    def close(self) -> None:
        """End what runs the jobs."""
