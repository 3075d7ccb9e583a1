"""What is done, on the storage that holds the results: one small immutable record per finished job.

Below the output folder stands ``.framelane/``::

    records/ID.json     written once, when the output had its name and was read back
    claims/             who does what at the moment (see ``claims``)
    segments/ID/        finished segments of unfinished jobs (see ``shipping``)

``ID`` is the job's identity. Everything that changes all the time (progress, logs) stays on the local disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from framelane.identity import digest, result_settings
from framelane.jobs.chain import Link
from framelane.jobs.claim import Claim
from framelane.jobs.claims import Claims
from framelane.jobs.files import LOCAL, Content, Files, Unverified, refused
from framelane.jobs.parts import Sweeper, put
from framelane.settings import Loaded

STATE = ".framelane"
"""The folder below the output folder that is not for users."""


def job_identity(clip_fingerprint: str, relative: PurePosixPath, processor: str, version: int, loaded: Loaded) -> str:
    """The identity of a job, 64 hex digits: the same on every machine and under every profile.

    Args:
        clip_fingerprint: of the clip's content.
        relative: the clip's path below the batch's folder.
        processor: its name.
        version: its version.
        loaded: the merged settings. What a profile chose or limited counts with the value that it would have without
            any profile, so that a batch begun on one machine is gone on with on another.
    """
    data = {
        "clip": clip_fingerprint,
        "relative": relative.as_posix(),
        "processor": [processor, version],
        "settings": result_settings(processor, loaded),
    }
    return digest(data)


@dataclass(frozen=True)
class JobRecord:
    """A finished job.

    Attributes:
        identity: 64 hex digits, see :func:`job_identity`.
        relative: the clip's path below the batch's folder.
        output: the result's path below the output folder.
        size: bytes of the result.
        sha256: of the result.
        processor: its name.
        finished: when, in UTC (ISO 8601).
        details: what the batch's page shows: frames, seconds, profile, device; plain data.
    """

    identity: str
    relative: str
    output: str
    size: int
    sha256: str
    processor: str
    finished: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_bytes(cls, data: bytes, identity: str) -> JobRecord | None:
        """The record in a file; None where it is damaged, of another job, or names a file outside the output folder."""
        try:
            known = json.loads(data)
            record = cls(**{key: kind(known[key]) for key, kind in _FIELDS.items()})
        except (ValueError, KeyError, TypeError):
            return None
        output = PurePosixPath(record.output)
        inside = not output.is_absolute() and ".." not in output.parts and output.parts
        return record if record.identity == identity and inside else None

    def to_bytes(self) -> bytes:
        """As written to the storage."""
        return json.dumps(asdict(self), indent=1).encode()


_FIELDS: dict[str, Any] = {
    "identity": str, "relative": str, "output": str, "size": int, "sha256": str, "processor": str, "finished": str,
    "details": dict,
}  # fmt: skip


class Ledger:
    """The records and claims of one output folder; any number of processes and machines may use one folder.

    Args:
        out: the output folder.
        files: its storage.
        expiry_s: seconds without a sign of life after which another machine's claim is abandoned; None is 60, or 300
            on storage that several machines see at different times.
        clock: seconds that never jump.
    """

    def __init__(
        self,
        out: Path,
        files: Files = LOCAL,
        *,
        expiry_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out, self.files = out, files
        remote = files.remote(out)
        expiry = expiry_s if expiry_s is not None else 300.0 if remote else 60.0
        self.claims = Claims(
            out / STATE / "claims",
            files,
            expiry_s=expiry,
            beat_s=expiry / 6,
            settle_s=2.0 if remote else 0.0,
            clock=clock,
        )
        self._sweeper = Sweeper(out, files, expiry, clock)
        self._known: dict[str, JobRecord] = {}

    # -- records -------------------------------------------------------------------------------------------------------

    def finished(self, identity: str) -> JobRecord | None:
        """The record of a finished job, if its output is there with its size.

        Raises:
            DriveGone: the storage does not answer.
        """
        record = self._read(identity)
        return record if record and self._stands(record) else None

    def record(self, record: JobRecord) -> JobRecord:
        """Write down that a job is finished, once. A record that is true already stays as it is.

        Records of other jobs whose output this one has replaced are removed.

        Returns:
            The record that stands.

        Raises:
            DriveGone: the storage does not answer, or the output is not there with its size.
            FramelaneError: the storage is full or not writable.
        """
        if standing := self.finished(record.identity):
            return standing
        target = self.out / record.output

        def there() -> None:
            if self.files.content(target) != Content(record.size, record.sha256):
                raise Unverified(target)

        try:
            self.files.retry(target, there, f"{record.relative} is not recorded as finished.")
            for other in self._others(record.identity, record.output):
                self.forget(other.identity)
            put(self._path(record.identity), record.to_bytes(), self.files)
        except OSError as error:
            raise refused(self._path(record.identity), error) from error
        self._known[record.identity] = record
        return record

    def conflict(self, identity: str, output: str | PurePosixPath) -> JobRecord | None:
        """A finished job with this output but another identity (other settings, another clip): not to be overwritten.

        Raises:
            DriveGone: the storage does not answer.
        """
        return next((record for record in self._others(identity, str(output)) if self._stands(record)), None)

    def forget(self, identity: str) -> None:
        """Remove a record, for ``--restart``; the output stays until the new one replaces it.

        Raises:
            DriveGone: the storage does not answer.
        """
        path = self._path(identity)
        self.files.retry(path, lambda: self.files.remove(path))
        self._known.pop(identity, None)

    def records(self) -> list[JobRecord]:
        """All records that are not damaged, by path of the clip, whether or not their outputs are still there.

        Raises:
            DriveGone: the storage does not answer.
        """
        names = set(self.files.listdir(self.out / STATE / "records"))
        there = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        for gone in self._known.keys() - there:
            del self._known[gone]
        for identity in there - self._known.keys():
            self._read(identity)
        return sorted(self._known.values(), key=lambda record: (record.relative, record.identity))

    def _others(self, identity: str, output: str) -> list[JobRecord]:
        return [record for record in self.records() if record.output == output and record.identity != identity]

    def _path(self, identity: str) -> Path:
        return self.out / STATE / "records" / f"{identity}.json"

    def _read(self, identity: str) -> JobRecord | None:
        data = self.files.read(self._path(identity))
        record = JobRecord.from_bytes(data, identity) if data else None
        if record:
            self._known[identity] = record
        else:
            self._known.pop(identity, None)
        return record

    def _stands(self, record: JobRecord) -> bool:
        path = self.out / record.output
        return self.files.retry(path, lambda: self.files.size(path)) == record.size

    # -- claims --------------------------------------------------------------------------------------------------------

    def claim(self, identity: str) -> Claim | None:
        """Claim a job; None where somebody else does it, or has finished it (see :meth:`finished`).

        Raises:
            DriveGone: the storage does not answer.
            FramelaneError: the storage is full or not writable.
        """
        try:
            claim = self.claims.take(identity)
        except OSError as error:
            raise refused(self.claims.folder / f"{identity}.json", error) from error
        # Looked at again: its holder may have finished between our looking and our claiming.
        if claim and self.finished(identity):
            claim.release()
            return None
        return claim

    def holder(self, identity: str) -> Link | None:
        """Who does a job at the moment, for a sentence about it."""
        return self.claims.holder(identity)

    # -- order ---------------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Remove what lost sessions left: abandoned claims, ``.part`` files, segments of jobs that are finished.

        For the start and the end of a batch: of another machine's left-overs it must see twice, long enough apart, that
        nobody works on them.

        Raises:
            DriveGone: the storage does not answer.
        """
        self.claims.sweep()
        self._sweeper.sweep()
        segments = self.out / STATE / "segments"
        for name in self.files.listdir(segments):
            if self.finished(name):
                self.files.remove_tree(segments / name, first=("job.json", "record.json"))
