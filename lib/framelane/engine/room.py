"""Room on the disk for the next segment."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from framelane.engine.checkpoint import Segment, WorkFolder
from framelane.errors import FramelaneError


def check_room(work: WorkFolder, segments: Sequence[Segment], min_free: int) -> None:
    """Refuse a segment that might leave less than ``min_free`` bytes, going by the largest one so far.

    Raises:
        FramelaneError: there is too little room.
    """
    free = shutil.disk_usage(work.path).free
    largest = max((segment.record.size for segment in segments), default=0)
    if min_free and free < min_free + largest:
        raise FramelaneError(
            f"Only {free / 1e6:.0f} MB are free on the disk of {work.output}, less than the {min_free / 1e6:.0f} MB of "
            f"engine.min_free_mb and the {largest / 1e6:.0f} MB that a segment takes. Free some space and run the same "
            "command again; finished segments are kept."
        )
