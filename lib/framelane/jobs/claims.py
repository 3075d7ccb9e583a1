"""Claims: which process does a job. Files that are only ever made anew, so that the file system decides who was first.

``ID.json`` is the claim on a job. Whoever finds it abandoned claims in succession of it: ``ID.TOKEN.json`` with the
token of the abandoned claim. The last claim of that chain holds. Nothing is replaced, so two that find the same claim
abandoned cannot both take it over. The heartbeat is a file ``ID.TOKEN-N.beat`` that gives way to the next one, for on
Google Drive a file that is written again and again may never be synced (googlecolab/colabtools#287).

A claim is abandoned at once where its process was of this machine, this boot, and is dead; else when nothing of it has
changed for long enough *while this process looked on*: clocks of two machines are never compared. One whose file does not
say whose it is, because its process died while it was written, is abandoned sooner.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from framelane.jobs.chain import Link, next_name, read_chain
from framelane.jobs.claim import HELD, Claim
from framelane.jobs.files import Files
from framelane.jobs.owner import Owner

Standing = Literal["free", "held", "silent"]
"""Of a claim: nobody holds it any more; its holder lives; or no sign of life was seen yet, and it has not expired."""

_ID = 64  # hex digits of a job's identity


class Claims:
    """The claims in a folder.

    Args:
        folder: where they lie.
        files: the storage.
        expiry_s: seconds without a sign of life, seen from here, after which a claim is abandoned.
        beat_s: seconds between two signs of life.
        settle_s: seconds between making a claim and reading back who holds it, for storage that several machines see
            at different times.
        clock: seconds that never jump.
        owner: the process that claims.
    """

    def __init__(
        self,
        folder: Path,
        files: Files,
        *,
        expiry_s: float,
        beat_s: float,
        settle_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        owner: Callable[[], Owner] = Owner.here,
    ) -> None:
        self.folder, self.files = folder, files
        self.expiry_s, self.beat_s, self.settle_s = expiry_s, beat_s, settle_s
        self.clock, self.owner = clock, owner
        self._seen: dict[str, tuple[tuple[str, ...], float]] = {}
        self._signs: dict[str, str] = {}  # by identity, the token of a claim that changed while this process looked on
        self._watched: float | None = None

    def take(self, identity: str) -> Claim | None:
        """Claim a job; None where somebody else has it.

        Raises:
            DriveGone: the storage does not answer.
            OSError: it is not writable.
        """
        self._watch(identity)
        chain = self.chain(identity)
        if chain and not self._abandoned(identity, chain[-1]):
            return None
        claim = Claim(self, identity, next_name(identity, chain), chain[-1].token if chain else "")
        held = False
        try:
            if not claim.make():
                return None
            if self.settle_s:
                self.files.sleep(self.settle_s)
            held = claim.beat()
            if not held:
                claim.withdraw()
        finally:
            if not held:
                HELD.discard(claim.token)
        return claim if held else None

    def standing(self, identity: str) -> Standing:
        """What is known of the claim on a job; looks at the storage, and never waits.

        Raises:
            DriveGone: the storage does not answer.
        """
        self._watch(identity)
        chain = self.chain(identity)
        if not chain or self._abandoned(identity, chain[-1]):
            return "free"
        link = chain[-1]
        alive = link.token in HELD or (link.owner is not None and link.owner.known_alive())
        return "held" if alive or self._signs.get(identity) == link.token else "silent"

    def holder(self, identity: str) -> Link | None:
        """Who has a job, for a sentence about it."""
        chain = self.chain(identity)
        return chain[-1] if chain else None

    def chain(self, identity: str, files: Files | None = None) -> list[Link]:
        """The claims on a job in the order of succession; the last one holds.

        Raises:
            DriveGone: the storage does not answer.
        """
        storage = files or self.files
        return read_chain(identity, lambda name: storage.read(self.folder / name))

    def sweep(self) -> None:
        """Remove what abandoned claims left, so that the folder does not grow with every lost session.

        Raises:
            DriveGone: the storage does not answer.
        """
        for identity, names in self._watch().items():
            chain = self.chain(identity)
            if chain and self._abandoned(identity, chain[-1]) and (claim := self.take(identity)):
                claim.release()
                continue
            known = {link.name for link in chain}
            for name in names:  # listed before the chain was read, so nothing of a newer claim is among them
                if name not in known and not (chain and name.startswith(f"{identity}.{chain[-1].token}-")):
                    self.remove(name)

    def remove(self, name: str) -> None:
        """Remove one file of the folder."""
        self.files.retry(self.folder / name, lambda: self.files.remove(self.folder / name))

    # -- observing -----------------------------------------------------------------------------------------------------

    def listing(self) -> dict[str, list[str]]:
        """The names of all files in the folder, by the identity of their job."""
        found: dict[str, list[str]] = {}
        for name in self.files.listdir(self.folder):
            if len(name) > _ID and name[_ID] == ".":
                found.setdefault(name[:_ID], []).append(name)
        return found

    def _watch(self, wanted: str | None = None) -> dict[str, list[str]]:
        """Note since when the claims look as they do: of one job, and now and then of all, for they may be next.

        Returns:
            The names of all files, by identity, as listed before the claims were read.
        """
        listing = self.listing()
        everything = self._watched is None or self.clock() - self._watched >= self.beat_s
        chosen = {wanted} if wanted is not None and not everything else listing.keys()
        for identity in chosen & listing.keys():
            chain = self.chain(identity)
            state = (*listing[identity], chain[-1].token if chain else "")
            before = self._seen.get(identity, ((), 0.0))[0]
            if before != state:
                self._seen[identity] = (state, self.clock())
                if before and before[-1] == state[-1]:
                    self._signs[identity] = state[-1]
        for identity in self._seen.keys() - listing.keys():
            del self._seen[identity]
        if everything or wanted is None:
            self._watched = self.clock()
        return listing

    def _abandoned(self, identity: str, link: Link) -> bool:
        if link.owner and (link.owner.known_dead() or (link.owner == Owner.here() and link.token not in HELD)):
            return True
        state, since = self._seen.get(identity, ((), 0.0))
        # Between its name and its content lie moments, and who comes late with the content sees that it is lost.
        expiry = self.expiry_s if link.owner else self.beat_s
        return bool(state) and state[-1] == link.token and self.clock() - since >= expiry
