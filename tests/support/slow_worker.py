"""The real worker with the test processors, whose join takes 5 ms a packet: ``python -m support.slow_worker``."""

from __future__ import annotations

import time

import support.processors  # noqa: F401
from framelane.jobs.worker import main
from framelane.video import join

_mux_all = join.mux_all


def _slowly(items):
    for item in items:
        time.sleep(0.005)
        yield item


if __name__ == "__main__":
    join.mux_all = lambda target, tracks, notes: _mux_all(target, map(_slowly, tracks), notes)
    main()
