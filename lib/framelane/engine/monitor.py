"""The monitor: one thread that reads all sensors once a second. A sensor that fails is absent, and never ends a run."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Reading = Mapping[str, float | None]

STALE_S = 5.0
"""A sample older than this is no longer believed: its sensors hang."""


class Source(Protocol):
    """Some sensors that are read together (see ``sensors``)."""

    def read(self) -> Reading:
        """Quantities by name; None, or a name left out, where there is no answer. May raise."""

    def close(self) -> None:
        """Release what the source holds."""


@dataclass
class _Fold:
    """Smallest, mean and largest of what was seen."""

    low: float
    high: float
    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.total, self.count = self.total + value, self.count + 1


class Monitor:
    """Samples all sources, keeps the newest sample, and folds every quantity into its minimum, mean and maximum.

    Memory is flat: no sample is kept but the newest.

    Args:
        sources: what is read.
        period_s: seconds between two samples.
        clock: seconds that never go back.
        on_sample: called with every sample and its time, in the monitor's thread.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        period_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        on_sample: Callable[[dict[str, float], float], None] = lambda _sample, _now: None,
    ) -> None:
        self.sources, self.period_s, self.clock, self.on_sample = list(sources), period_s, clock, on_sample
        self._newest: tuple[float, dict[str, float]] = (-math.inf, {})
        self._folds: dict[str, _Fold] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample; the first sample is there when this returns, if the sensors answer within a second."""
        if not self.sources or self._thread is not None:
            return
        first = threading.Event()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(first,), name="monitor", daemon=True)
        self._thread.start()
        first.wait(1.0)

    def stop(self) -> None:
        """End sampling and close the sources. A sensor that hangs is left to its daemon thread."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join(2.0)
            if self._thread.is_alive():
                return
            self._thread = None
        for source in self.sources:
            with contextlib.suppress(Exception):
                source.close()

    def _run(self, first: threading.Event) -> None:
        while not self._stop.is_set():
            self.tick()
            first.set()
            self._stop.wait(self.period_s)

    def tick(self) -> dict[str, float]:
        """Take one sample now, in this thread."""
        sample: dict[str, float] = {}
        for source in self.sources:
            with contextlib.suppress(Exception):  # whatever a driver raises: its quantities are absent this time
                for name, value in source.read().items():
                    if value is not None and math.isfinite(value):
                        sample[name] = float(value)
        now = self.clock()
        with self._lock:
            self._newest = (now, sample)
            for name, value in sample.items():
                self._folds.setdefault(name, _Fold(value, value)).add(value)
        self.on_sample(sample, now)
        return sample

    def newest(self) -> dict[str, float]:
        """The newest sample, empty where it is older than :data:`STALE_S`."""
        with self._lock:
            taken, sample = self._newest
        return dict(sample) if self.clock() - taken <= max(STALE_S, 3 * self.period_s) else {}

    def progress(self) -> dict[str, Any]:
        """What a ``progress`` event carries: ``ram`` in %, and ``gpu`` where there is one (load and memory in %, °C, W).

        ``sensors`` has all that people watch, under the names of ``sensors``; what this machine lacks is absent.
        """
        sample = self.newest()
        watched = {name: round(sample[name], 1) for name in WATCHED if name in sample}
        gpu = {short: round(sample[name], 1) for short, name in _SHOWN.items() if name in sample}
        return {
            **({"ram": round(sample["ram"], 1)} if "ram" in sample else {}),
            **({"gpu": gpu} if gpu else {}),
            **({"sensors": watched} if watched else {}),
        }

    def summary(self) -> dict[str, dict[str, float]]:
        """For the report: ``min``, ``mean`` and ``max`` of every quantity, and from how many ``samples``."""
        with self._lock:
            return {
                name: {
                    "min": round(fold.low, 2),
                    "mean": round(fold.total / fold.count, 2),
                    "max": round(fold.high, 2),
                    "samples": fold.count,
                }
                for name, fold in sorted(self._folds.items())
            }


_SHOWN = {"load": "gpu_load", "memory": "gpu_memory", "temperature": "gpu_temperature", "power_w": "gpu_power_w"}

WATCHED = (
    "gpu_load", "encoder_load", "decoder_load", "gpu_memory", "gpu_memory_used_mib", "gpu_memory_total_mib", "vram",
    "gpu_temperature", "gpu_slowdown", "thermal_margin", "gpu_power_w", "gpu_power_limit_w", "throttled_heat",
    "throttled_power", "ram", "ram_used_gb", "ram_total_gb", "process_ram", "process_ram_gb", "swap", "cpu",
    "cpu_temperature", "disk_free_mb", "disk_spare_mb",
)  # fmt: skip
"""What a dashboard draws, of what the monitor reads."""
