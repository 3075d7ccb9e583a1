"""How busy the GPU's engines were while something ran: sampled through NVML in a thread of its own."""

from __future__ import annotations

import contextlib
import importlib
import threading
from types import TracebackType
from typing import Any

from framelane.gpu import visible_gpu

EVERY_S = 0.1  # NVML's own figures are means over 1/6 to 1 s (nvml.h, nvmlUtilization_t)
_ASK = ("sm", "encoder", "decoder")


class Engines:
    """Samples from ``with`` to its end; where no driver answers, there are no samples.

    Args:
        nvml: the module ``pynvml``.
    """

    def __init__(self, nvml: Any = None) -> None:
        self.samples: list[tuple[float, float, float]] = []
        self._nvml: Any = nvml
        self._handle: Any = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Engines:
        with contextlib.suppress(Exception):  # no driver, no GPU, no binding
            self._nvml = self._nvml or importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = visible_gpu(self._nvml)
        if self._handle is not None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._nvml.nvmlShutdown()

    def _watch(self) -> None:
        nvml = self._nvml
        while not self._done.wait(EVERY_S):
            with contextlib.suppress(Exception):  # a card that does not say
                self.samples.append(
                    (
                        float(nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu),
                        float(nvml.nvmlDeviceGetEncoderUtilization(self._handle)[0]),
                        float(nvml.nvmlDeviceGetDecoderUtilization(self._handle)[0]),
                    )
                )

    def busy(self) -> dict[str, float] | None:
        """Mean use in % of ``sm`` (the kernels' processors), ``encoder`` and ``decoder``; None without a sample."""
        if not self.samples:
            return None
        return {
            name: round(sum(sample[place] for sample in self.samples) / len(self.samples), 1)
            for place, name in enumerate(_ASK)
        }
