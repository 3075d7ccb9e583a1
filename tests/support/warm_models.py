"""Importing this imports what the embedded models need, as a job does when it opens them."""

from framelane.models.torch_compat import ensure_torchvision

ensure_torchvision()
from transformers import Dinov2Config, Dinov2Model  # noqa: E402, F401
