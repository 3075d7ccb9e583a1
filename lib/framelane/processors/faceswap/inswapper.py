"""InSwapper-128: all faces of a frame batch through one graph, cut out and put back on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, chain
from framelane.models import catalog, store
from framelane.models.batch import agrees, free_batch, in_chunks, to_half
from framelane.models.kept import kept
from framelane.models.onnx import OpenedSession, open_session
from framelane.perception.faces import crops
from framelane.processors.faceswap import align
from framelane.processors.faceswap.swapper import Patch, Refused, Source, Swapper, Wish

if TYPE_CHECKING:
    import torch

    from framelane.processors.base import Context

MODEL = "inswapper_128"
SIDE = 128
CHUNKS = {"cpu": 1, "cuda": 4}
"""Faces at once. On a CPU the network is the bound and gains nothing from company, so none is wasted on filling up."""
_SAME = 2e-3
"""Largest difference, of 0 to 1, that a batch may make to a face: half a grey level. More means the graph mixes faces."""
_EQUAL = 1.0
"""Grey levels of 255 that a pixel may differ by in FP16."""


class InSwapper(Swapper):
    """The published network (128 pixels, identity by ArcFace), with its batch dimension freed.

    Args:
        network: see :func:`load`.
        device: where frames are, ``"cpu"`` or ``"cuda"``.
        keep_mouth: leave the mouth of the clip.
    """

    name = "inswapper"

    def __init__(self, network: Network, device: str = "cpu", *, keep_mouth: bool = False) -> None:
        self.network, self.device, self.keep_mouth = network, device, keep_mouth
        self.models = [network.model]

    @classmethod
    def open(cls, context: Context) -> Self:
        """The swapper of a job.

        Raises:
            FramelaneError: the weights are missing, damaged, or their licence was not accepted.
        """
        path = store.resolve(MODEL, notify=context.warn)
        sha256 = store.digest(MODEL)
        half = context.settings.hardware.mixed_precision and context.device == "cuda"
        key = (context.device, sha256, half)
        network = kept("inswapper", key, lambda: load(path, context.device, context.threads, half=half))
        network.model.update(sha256=sha256, licence=catalog.get(MODEL).licence)
        for sentence in network.said:
            context.degrade(sentence)
        return cls(network, context.device, keep_mouth=context.settings.faceswap.keep_mouth)

    def swap(self, frames: torch.Tensor, wishes: list[Wish]) -> list[Patch | Refused]:
        """See :meth:`Swapper.swap`. A source without an embedding is refused: who it is cannot be said to the network."""
        known = [index for index, wish in enumerate(wishes) if wish.source.embedding is not None]
        answers: list[Patch | Refused] = [Refused("the source has no embedding") for _ in wishes]
        if not known:
            return answers
        chosen = [wishes[index] for index in known]
        matrices = crops.similarity(np.stack([wish.face.points for wish in chosen]), crops.template(SIDE))
        swapped = self.crops(frames, chosen, list(matrices))
        height, width = int(frames.shape[-2]), int(frames.shape[-1])
        for place, wish, crop, matrix in zip(known, chosen, swapped, matrices, strict=True):
            answers[place] = align.patch(crop, matrix, width, height, wish.face, self.keep_mouth)
        return answers

    def crops(self, frames: torch.Tensor, wishes: list[Wish], matrices: list[NDArray[np.float64]]) -> torch.Tensor:
        """The swapped faces, (n, 3, 128, 128) float32, 0 to 255, on the frames' device."""
        import torch

        faces = crops.cut(frames, [wish.frame for wish in wishes], matrices, SIDE)
        latents = np.concatenate([self.network.latent(wish.source) for wish in wishes])
        found = self.network.run((faces / 255).cpu().numpy(), latents)
        return torch.from_numpy(found).to(frames.device).mul_(255).clamp_(0, 255)

    def close(self) -> None:
        """See the base class."""


class Network:
    """An opened InSwapper graph.

    Attributes:
        provider: the execution provider in use.
        said: sentences on what works less well than asked for.
        chunk: faces at once.
        model: as ``Context.models`` lists it.
    """

    def __init__(self, opened: OpenedSession, emap: NDArray[np.float32], names: tuple[str, str], chunk: int) -> None:
        self.session, self.provider, self.emap = opened.session, opened.provider, emap
        self.names, self.chunk = names, chunk
        self.said = [opened.downgrade] if opened.downgrade else []
        self.model: dict[str, Any] = {"name": MODEL, "precision": "fp32"}

    def latent(self, source: Source) -> NDArray[np.float32]:
        """What the network is told about a source: its embedding through the map, of length 1 again; (1, 512).

        As insightface 2.1, ``model_zoo/inswapper.py:53-55``.
        """
        assert source.embedding is not None, "the swapper has looked"
        latent = source.embedding.reshape(1, -1) @ self.emap
        return np.asarray(latent / np.linalg.norm(latent), np.float32)

    def run(self, faces: NDArray[np.float32], latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Swapped faces.

        Args:
            faces: (n, 3, 128, 128) RGB 0 to 1.
            latents: (n, 512).

        Returns:
            (n, 3, 128, 128) RGB, about 0 to 1.
        """
        feeds = {self.names[0]: np.ascontiguousarray(faces, np.float32), self.names[1]: latents}
        return in_chunks(self.session, feeds, self.chunk)[0]


def load(path: Path, device: str, threads: int, *, chunk: int | None = None, half: bool = False) -> Network:
    """Open the weights with a free batch dimension, and try whether faces together come out as each alone.

    Args:
        path: the ONNX file, checked.
        device: ``"cpu"`` or ``"cuda"``.
        threads: on the CPU.
        chunk: faces at once; by default what suits the device.
        half: FP16, if these very weights then give equal pixels.

    Raises:
        FramelaneError: the file is no InSwapper model.
    """
    import onnx
    from onnx import numpy_helper

    chunk = chunk or CHUNKS.get(device, 1)
    try:
        model = onnx.load(str(path))
        emap = numpy_helper.to_array(model.graph.initializer[-1]).astype(np.float32)
        names = tuple(value.name for value in model.graph.input)[:2]
        if emap.shape != (512, 512) or len(names) != 2:
            raise ValueError(f"its last initializer is {emap.shape}, expected is the embedding map (512, 512)")
        if chunk > 1:
            free_batch(model)
        graph = model.SerializeToString() if chunk > 1 else None
    except Exception as error:  # protobuf's own, of a file that is no model
        raise FramelaneError(f"The weights at {path} are no InSwapper model ({chain(error)}).") from error

    def network(graph: bytes | None, chunk: int) -> Network:
        return Network(open_session(path, device, threads, graph), emap, (names[0], names[1]), chunk)

    found = network(graph, chunk)
    if chunk > 1 and not _batches(found):
        found = network(None, 1)
        found.said.append("inswapper takes one face at a time: a batch of two came out otherwise than each alone.")
    if half and found.chunk == chunk:
        found = _halved(found, lambda: network(to_half(model), chunk))
    return found


def _probe(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Faces and latents to try a network with: noise, which hides no difference."""
    random = np.random.default_rng(0)
    latents = random.normal(size=(count, 512)).astype(np.float32)
    return random.random((count, 3, SIDE, SIDE), np.float32), latents / np.linalg.norm(latents, axis=1, keepdims=True)


def _batches(network: Network) -> bool:
    try:
        return agrees(network.session, dict(zip(network.names, _probe(2), strict=True)), _SAME)
    except Exception:  # onnxruntime's own: some shape inside is fixed
        return False


def _halved(whole: Network, half: Callable[[], Network]) -> Network:
    """The network in FP16 if no pixel of a face then differs by more than :data:`_EQUAL`, else as it was, which is said."""
    faces, latents = _probe(whole.chunk)
    try:
        found = half()
        furthest = 255 * float(np.abs(whole.run(faces, latents) - found.run(faces, latents)).max())
        reason = f"a pixel differs by {furthest:.1f} of 255 grey levels"
    except Exception as error:  # the converter's own and onnxruntime's
        furthest, reason = float("nan"), chain(error)
    if furthest <= _EQUAL:
        found.model["precision"] = "fp16"
        return found
    whole.said.append(f"inswapper runs in FP32: in FP16 these weights do not give the same ({reason}).")
    return whole
