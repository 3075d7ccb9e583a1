"""This process's claim on one job: made, kept alive, seen to be lost, and released. How claims work is in ``claims``."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from framelane.errors import FramelaneError
from framelane.jobs.chain import Link, link_of, next_name
from framelane.jobs.files import Files, Unverified, write_all
from framelane.jobs.parts import passing

if TYPE_CHECKING:
    from framelane.jobs.claims import Claims

HELD: set[str] = set()
"""Tokens of the claims that this process holds. A claim of its own that is not among them could not be taken back when
the storage was gone: the same process (a notebook's kernel) may begin anew once it is there again."""


class Claim:
    """This process's claim on one job. As a context manager it beats by itself and is released at the end.

    Attributes:
        lost: True once it was seen that somebody else has taken the job over: what is done here must not be recorded.
    """

    def __init__(self, claims: Claims, identity: str, name: str, after: str) -> None:
        self.claims, self.identity = claims, identity
        self.token = secrets.token_hex(8)
        HELD.add(self.token)
        self.lost = self.released = False
        self._name, self._after = name, after
        self._beats = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def make(self, files: Files | None = None) -> bool:
        """Make the claim's file; False where somebody was faster.

        Raises:
            DriveGone: the storage does not answer.
            OSError: it is not writable.
        """
        files = files or self.claims.files
        path = self.claims.folder / self._name
        made = {"token": self.token, **self.claims.owner().to_json(), "since": datetime.now(UTC).isoformat()}
        data = json.dumps(made).encode()
        created = False  # by us, for certain: then what is damaged in it is ours to mend

        def once() -> bool:
            nonlocal created
            files.mkdir(path.parent)
            there = self._look(path, files)
            if there is None:
                created = False
            elif there.token == self.token:
                return True  # an error had hidden that it worked
            elif there.owner or not created:
                return False
            try:
                with files.open(path, "wb" if created else "xb") as file:
                    created = True
                    write_all(file, data)
                    files.sync(file)
            except FileExistsError:
                return self._mine(path, files)
            if not self._mine(path, files):
                raise Unverified(path)
            return True

        return files.retry(path, passing(once))

    def _look(self, path: Path, files: Files) -> Link | None:
        data = files.read_once(path)  # the retry around it has the patience, and begins from what is there then
        return None if data is None else link_of(path.name, data)

    def _mine(self, path: Path, files: Files) -> bool:
        there = self._look(path, files)
        return there is not None and there.token == self.token

    def beat(self) -> bool:
        """Give a sign of life; False once the claim is lost. Storage that does not answer just now loses nothing."""
        with self._lock:
            if self.lost or self.released:
                return False
            with suppress(OSError, FramelaneError):
                self._hold()
                if not self.lost:
                    self._give_sign()
            return not self.lost

    def _hold(self) -> None:
        """See whether the claim holds; a claim whose file the storage lost is made again."""
        files = self.claims.files.but(waits=())
        chain = self.claims.chain(self.identity, files)
        if chain and chain[-1].token == self.token:
            return
        if any(link.token == self.token for link in chain):  # and another after it
            self.lost = True
            return
        if chain and chain[-1].token != self._after:
            # A damaged one may be this very claim: as long as it beats nobody finds it abandoned.
            self.lost = chain[-1].owner is not None
            return
        self._name = next_name(self.identity, chain)
        self.lost = not self.make(files)

    def _give_sign(self) -> None:
        files, folder = self.claims.files, self.claims.folder
        files.write(folder / self._beat_name(self._beats + 1), b"")
        self._beats += 1
        files.remove(folder / self._beat_name(self._beats - 1))

    def _beat_name(self, number: int) -> str:
        return f"{self.identity}.{self.token}-{number:06d}.beat"

    def release(self) -> None:
        """Let others have the job.

        Raises:
            DriveGone: the storage does not answer; the claim ends with this process, or when it expires.
        """
        self._end_thread()
        HELD.discard(self.token)
        with self._lock:
            if self.released:
                return
            self.released = True
            chain = self.claims.chain(self.identity)
            if chain and chain[-1].token == self.token:
                # The first link first: who claims anew from then on makes names of its own, and none of those below,
                # which were listed before.
                below = self.claims.listing().get(self.identity, [])
                self.claims.remove(chain[0].name)
                for name in below:
                    if name not in (chain[0].name, f"{self.identity}.{self.token}.json"):
                        self.claims.remove(name)
        self.withdraw()

    def withdraw(self) -> None:
        """Remove this claim's signs of life. A claim that did not come to hold is swept later."""
        mine = f"{self.identity}.{self.token}-"
        for name in self.claims.files.listdir(self.claims.folder):
            if name.startswith(mine):
                self.claims.remove(name)

    def __enter__(self) -> Claim:
        self._thread = threading.Thread(target=self._keep, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A claim that cannot be removed just now expires, or ends with this process: no reason to fail a job.
        with suppress(OSError, FramelaneError):
            self.release()

    def _keep(self) -> None:
        while not self._stop.wait(self.claims.beat_s) and self.beat():
            pass

    def _end_thread(self) -> None:
        self._stop.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
