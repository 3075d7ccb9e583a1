"""A Drive that fails: real files in a real folder, behind a door that fails by a seeded schedule.

What it does to the caller is what Google Drive's FUSE mount has been seen to do: Errno 5 and 107, before or *after* the
thing was done; writes that are cut short, with or without saying so; files that are gone again once written; a rename
that copies, so that the target is there in half; reads that end early; delays. Time is not spent, only counted.
"""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

from framelane.jobs.files import Files

FAULTS = ("before", "after", "short", "cut", "lost", "half", "early", "slow")


class Drive(Files):
    """A folder that fails.

    Args:
        seed: of the schedule.
        rate: share of the calls that fail.
        faults: which kinds occur.
        most: faults in a row, after which one call works; None lets the schedule decide.
        dies_after: calls after which nothing works any more.
    """

    def __init__(self, seed=0, rate=0.0, faults=FAULTS, most=None, dies_after=None, waits=(0.5,) * 7):
        super().__init__(waits=waits)
        self.state = _State(random.Random(seed), rate, faults, most, dies_after)

    @property
    def calls(self):
        return self.state.calls

    @property
    def slept(self):
        return self.state.slept

    def heal(self):
        """From now on nothing fails."""
        self.state.rate, self.state.dies_after = 0.0, None

    def remote(self, path):
        return True

    def sleep(self, seconds):
        self.state.slept += seconds

    # -- every primitive goes through the schedule ----------------------------------------------------------------------

    def open(self, path, mode):
        fault = self.state.fault("before", "after", "short", "cut", "lost", "early", "slow")
        file = super().open(path, mode)
        if fault == "after":
            file.close()
            self.state.error(path)
        return _File(file, path, self.state, fault)

    def sync(self, file):
        self.state.fault("before", "slow")
        super().sync(file)

    def size(self, path):
        self.state.fault("before", "slow")
        return super().size(path)

    def entries(self, folder):
        self.state.fault("before", "slow")
        return super().entries(folder)

    def mkdir(self, path):
        fault = self.state.fault("before", "after")
        super().mkdir(path)
        self.state.afterwards(fault, path)

    def remove(self, path):
        fault = self.state.fault("before", "after")
        super().remove(path)
        self.state.afterwards(fault, path)

    def rmdir(self, folder):
        fault = self.state.fault("before", "after")
        super().rmdir(folder)
        self.state.afterwards(fault, folder)

    def rename(self, source, target):
        fault = self.state.fault("before", "after", "half", "lost")
        if fault == "half":  # neither is whole any more, and no error says so
            data = source.read_bytes()
            target.write_bytes(data[: len(data) // 2])
            if self.state.rng.random() < 0.5:
                source.unlink()
            return
        super().rename(source, target)
        if fault == "lost":
            target.unlink()
        self.state.afterwards(fault, target)


class _State:
    """What several views of one Drive share."""

    def __init__(self, rng, rate, faults, most, dies_after):
        self.rng, self.rate, self.faults, self.most, self.dies_after = rng, rate, faults, most, dies_after
        self.calls, self.slept, self.row = 0, 0.0, 0

    def fault(self, *possible):
        """The fault of this call; None for none. A fault before the act is raised at once."""
        self.calls += 1
        if self.dies_after is not None and self.calls > self.dies_after:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        possible = [kind for kind in possible if kind in self.faults]
        if not possible or self.rng.random() >= self.rate or (self.most is not None and self.row >= self.most):
            self.row = 0
            return None
        self.row += 1
        kind = self.rng.choice(possible)
        if kind == "before":
            self.error()
        if kind == "slow":
            self.slept += self.rng.uniform(0, 20)
        return kind

    def error(self, path=None):
        number = self.rng.choice([errno.EIO, errno.ENOTCONN])
        raise OSError(number, os.strerror(number))

    def afterwards(self, fault, path):
        if fault == "after":
            self.error(path)


class _File:
    """An open file that may not do what it says."""

    def __init__(self, file, path, state, fault):
        self.file, self.path, self.state, self.fault = file, path, state, fault

    def write(self, data):
        data = bytes(data)
        if self.fault == "cut":  # says that all was taken
            self.file.write(data[: len(data) // 2])
            return len(data)
        if self.fault == "short" and len(data) > 1:
            return self.file.write(data[: self.state.rng.randrange(1, len(data))])
        return self.file.write(data)

    def read(self, size=-1):
        if self.fault == "early":
            return self.file.read(size)[:-3]
        return self.file.read(size)

    def fileno(self):
        return self.file.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        writing = self.file.writable()
        self.file.close()
        if self.fault == "lost" and writing:
            Path(self.path).unlink(missing_ok=True)


def parts_in(folder):
    """Every ``.part`` below a folder."""
    return [path for path in Path(folder).rglob("*") if path.name.endswith(".part")]
