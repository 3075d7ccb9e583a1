"""How far a job has come, as its output folder and this machine know it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from framelane.engine.checkpoint import WorkFolder
from framelane.jobs.discover import Found
from framelane.jobs.files import Files
from framelane.jobs.ledger import STATE, job_identity
from framelane.jobs.spec import local_output
from framelane.processors.base import create
from framelane.settings import Loaded
from framelane.video.clip import fingerprint


def identify(processor: str) -> Callable[..., str]:
    """Gives the identity of a clip's job with a processor, from the clip as it was found and its settings.

    Without a third argument, the fingerprint of its content, three megabytes of the clip are read for that.

    Raises:
        UsageError: there is no such processor.
    """
    version = create(processor).version

    def identity(found: Found, loaded: Loaded, content: str = "") -> str:
        return job_identity(content or fingerprint(found.path), found.relative, processor, version, loaded)

    return identity


def segments_done(out: Path, identity: str, files: Files) -> int:
    """How many segments of an unfinished job are there to go on from: on this machine, else shipped by another one.

    Args:
        out: the output folder.
        identity: of the job.
        files: the way to the output folder's storage.

    Raises:
        DriveGone: the storage does not answer.
    """
    here = sum(1 for _ in WorkFolder(local_output(out, identity)).path.glob("segment-??????/record.json"))
    if here or not files.remote(out):
        return here
    return sum(name.startswith("segment-") for name in files.listdir(out / STATE / "segments" / identity))
