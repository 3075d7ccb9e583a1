"""Weights into models: opened without running code, and refused unless every parameter has its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.errors import FramelaneError, chain

if TYPE_CHECKING:
    from torch import Tensor


def read_torch(path: Path) -> dict[str, Any]:
    """What a PyTorch file holds, by the restricted unpickler: tensors and plain data only.

    Raises:
        FramelaneError: it cannot be read, or holds something else.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FramelaneError(f"The weights {path} cannot be read as tensors alone ({chain(error)}).") from error
    if not isinstance(found, dict):
        raise FramelaneError(f"The weights {path} hold a {type(found).__name__}, not parameters by name.")
    return found


def fill(model: Any, weights: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Give a model its parameters; they take the place of its own, so that it may be built without memory for them.

    Args:
        model: a torch module, also on the device ``"meta"``.
        weights: by the names that the module itself uses.
        path: where they are from, for the sentence.
        what: the model's name, for the sentence.

    Raises:
        FramelaneError: one is missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    refuse_misfit(
        {
            "missing_keys": sorted(wanted.keys() - weights.keys()),
            "unexpected_keys": sorted(weights.keys() - wanted.keys()),
            "mismatched_keys": sorted(
                f"{name} {tuple(weights[name].shape)} instead of {tuple(wanted[name].shape)}"
                for name in wanted.keys() & weights.keys()
                if tuple(weights[name].shape) != tuple(wanted[name].shape)
            ),
        },
        path,
        what,
    )
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in weights.items()}, assign=True)


def refuse_misfit(found: Mapping[str, Any], path: Path, what: str) -> None:
    """Refuse weights that do not fit.

    Args:
        found: ``missing_keys``, ``unexpected_keys`` and ``mismatched_keys``, as transformers reports them.
        path: where the weights are from.
        what: the model's name.

    Raises:
        FramelaneError: one of these is not empty.
    """
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(key) for key in found[kind]):
            raise FramelaneError(
                f"The weights {path} do not fit {what}: {len(names)} {kind.replace('_', ' ')}, the first is {names[0]}."
            )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars of transformers while the block lasts."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
