"""A folder on the local disk that is as slow as one that is far away, so that a kill can hit a copy."""

from __future__ import annotations

import time

from framelane.jobs.files import Files


class _Slow:
    def __init__(self, file):
        self.file = file

    def write(self, data):
        time.sleep(0.002)
        return self.file.write(data[:8192])  # an unbuffered file may take fewer bytes than it is given

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


class SlowFiles(Files):
    """Takes 8 kB at a time, and 2 ms for them."""

    def open(self, path, mode):
        file = super().open(path, mode)
        return file if mode == "rb" else _Slow(file)
