"""What a pipeline is to do: sizes, and what is done already."""

from __future__ import annotations

from dataclasses import dataclass, field

from framelane.engine.checkpoint import Segment
from framelane.engine.rungs import Held


@dataclass
class Plan:
    """What the pipeline is to do.

    Attributes:
        batch_size: frames per frame batch.
        queue_batches: frame batches that may wait between two stages.
        segment_seconds: seconds of output per segment.
        min_free: bytes of disk that must stay free.
        done: segments finished by an earlier run.
        frames: a guess at the number of frames.
        empty_cache_every: frame batches between two times that unused memory is given back; 0 is never.
        held: what the guard had set at the end of the clip before.
        device: where the job works, ``"cpu"`` or ``"cuda"``: there each stage has a stream of its own.
    """

    batch_size: int
    queue_batches: int
    segment_seconds: float
    min_free: int = 0
    done: list[Segment] = field(default_factory=list)
    frames: int = 0
    empty_cache_every: int = 0
    held: Held = field(default_factory=dict)
    device: str = "cpu"
