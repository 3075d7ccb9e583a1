"""The hardware as the rest of framelane sees it: what is there, found in ``machine``, and which profile fits.

What of it works, and what to do about the rest, is the doctor's (``framelane.doctor``).
"""

from __future__ import annotations

from framelane.gpu import Gpu, cuda_problem
from framelane.machine import Hardware, choose_profile, detect, detected_profile, memory_bandwidth_gbs

__all__ = ["Gpu", "Hardware", "choose_profile", "cuda_problem", "detect", "detected_profile", "memory_bandwidth_gbs"]
