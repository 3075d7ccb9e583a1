"""Where this runs, as far as the place forbids face swapping. It is said aloud; nothing hides or works round it."""

from __future__ import annotations

import os
from importlib.util import find_spec

COLAB = (
    "This is Google Colab. Its free tier lists creating deepfakes among what is not allowed there, and may end the "
    "session or close the account for it: use faceswap only where the terms of your plan allow it, on a machine of your "
    "own, or on another host."
)


def notice() -> str | None:
    """A sentence where the host forbids or restricts this use; None elsewhere."""
    return COLAB if on_colab() else None


def on_colab() -> bool:
    """Whether this is a Colab runtime, by what its own runtime sets and installs."""
    if any(name in os.environ for name in ("COLAB_RELEASE_TAG", "COLAB_GPU", "COLAB_BACKEND_VERSION")):
        return True
    try:
        return find_spec("google.colab") is not None
    except (ImportError, ValueError):
        return False
