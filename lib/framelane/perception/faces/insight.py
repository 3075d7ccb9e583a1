"""insightface's models: SCRFD finds faces, ArcFace tells who they are, and a small network guesses their age."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, chain
from framelane.models import catalog, store
from framelane.models.batch import in_chunks
from framelane.models.kept import kept
from framelane.models.onnx import OpenedSession, open_session
from framelane.perception.faces import crops
from framelane.perception.faces.base import Face, FaceFinder, Floats

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

MODEL = "buffalo_l"
DETECTOR, RECOGNISER, AGE = "det_10g.onnx", "w600k_r50.onnx", "genderage.onnx"
SIDE = 640
"""What frames are made to fit into. insightface's own default makes a second pass at 128, which finds close-ups twice."""
CHUNKS = {"cpu": 1, "cuda": 8}
"""Faces at once, for identity and age."""


class InsightFinder(FaceFinder):
    """SCRFD-10GF with ArcFace ResNet-50 and the age network of the pack ``buffalo_l``.

    The weights are for non-commercial research only.

    Args:
        pack: see :class:`Pack`.
        device: where frames are.
        threshold: lowest score of a face.
    """

    tells_who = True

    def __init__(self, pack: Pack, device: str = "cpu", *, threshold: float = 0.5) -> None:
        self.pack, self.threshold, self.chunk = pack, threshold, CHUNKS.get(device, 1)
        self.tells_age = pack.age is not None
        self.models: list[dict[str, Any]] = [pack.model]

    @classmethod
    def open(
        cls, *, device: str, threads: int, threshold: float, warn: Callable[[str], None], degrade: Callable[[str], None]
    ) -> Self:
        """The finder of a job.

        Raises:
            FramelaneError: the weights are missing, damaged, or their licence was not accepted; insightface cannot be
                imported.
        """
        path = store.resolve(MODEL, notify=warn)
        sha256 = store.digest(MODEL)
        pack = kept("face finder", (device, sha256), lambda: Pack(path, device, threads))
        pack.model.update(sha256=sha256, licence=catalog.get(MODEL).licence)
        for sentence in pack.said:
            degrade(sentence)
        return cls(pack, device, threshold=threshold)

    def find(self, rgb: torch.Tensor) -> list[list[Face]]:
        """See :meth:`FaceFinder.find`."""
        return [self.identify(frame, self.detect(frame)) for frame in rgb]

    def detect(self, rgb: torch.Tensor) -> list[Face]:
        """The faces of one frame (3, H, W), the largest first, without identity.

        As insightface 2.1, ``model_zoo/scrfd.py:_detect_candidates``, but the frame is made smaller on its device.
        """
        picture, scale = letterbox(rgb)
        scores, boxes, points = self.pack.detector.forward(picture, self.threshold)
        score = np.concatenate([found.ravel() for found in scores])
        order = np.argsort(-score, kind="stable")
        all_boxes = np.concatenate(boxes)[order] / scale
        all_points = np.concatenate(points)[order] / scale
        rows = np.hstack([all_boxes, score[order, None]]).astype(np.float32, copy=False)
        kept_rows = self.pack.detector.nms(rows) if len(rows) else []
        faces = [Face(rows[i, :4], float(rows[i, 4]), all_points[i].astype(np.float32)) for i in kept_rows]
        return sorted(faces, key=lambda face: -face.size)

    def identify(self, rgb: torch.Tensor, faces: Sequence[Face]) -> list[Face]:
        """Faces of one frame (3, H, W) with who they are and, where the pack can tell, how old they look."""
        if not faces:
            return []
        embeddings = self._embed(rgb, faces)
        ages: Sequence[float | None] = self._ages(rgb, faces) if self.pack.age else [None] * len(faces)
        return [
            replace(face, embedding=embedding, age=age)
            for face, embedding, age in zip(faces, embeddings, ages, strict=True)
        ]

    def _embed(self, rgb: torch.Tensor, faces: Sequence[Face]) -> Floats:
        side = self.pack.recogniser.input_size[0]
        matrices = crops.similarity(np.stack([face.points for face in faces]), crops.template(side))
        found = self._run(self.pack.recogniser, rgb, list(matrices), side)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    def _ages(self, rgb: torch.Tensor, faces: Sequence[Face]) -> list[float | None]:
        """As insightface 2.1, ``model_zoo/attribute.py:get``: a crop 1.5 times the box, not turned."""
        side = self.pack.age.input_size[0]
        found = self._run(self.pack.age, rgb, [_upright(face, side) for face in faces], side)
        return [float(row[2]) * 100 for row in found]

    def _run(self, model: Any, rgb: torch.Tensor, matrices: list[NDArray[np.float64]], side: int) -> Floats:
        faces = crops.cut(rgb[None], [0] * len(matrices), matrices, side)
        pixels = ((faces.round() - model.input_mean) / model.input_std).cpu().numpy()
        return in_chunks(model.session, {model.input_name: pixels}, self.chunk)[0]

    def close(self) -> None:
        """See the base class."""


class Pack:
    """The opened networks of a pack of models.

    Args:
        path: a ZIP file with the networks, as insightface publishes it, checked; or a folder of them.
        device: ``"cpu"`` or ``"cuda"``.
        threads: on the CPU.

    Attributes:
        detector: insightface's ``SCRFD``.
        recogniser: its ``ArcFaceONNX``.
        age: its ``Attribute``; None where the pack has none.
        model: as ``Context.models`` lists it.
        said: sentences on what works less well than asked for.
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int = 1) -> None:
        try:
            from insightface.model_zoo.arcface_onnx import ArcFaceONNX
            from insightface.model_zoo.attribute import Attribute
            from insightface.model_zoo.scrfd import SCRFD
        except ImportError as error:
            raise FramelaneError(
                f"faceswap.finder=insightface needs the package insightface ({chain(error)}); run: pip install --no-deps "
                "insightface. With its dependencies it would bring the onnxruntime that has no CUDA."
            ) from error
        self.said: list[str] = []
        self.model: dict[str, Any] = {"name": MODEL}
        with tempfile.TemporaryDirectory(prefix="framelane-") as temporary:
            folder = path if path.is_dir() else _unpacked(path, Path(temporary))

            def opened(kind: Callable[..., Any], name: str, **more: Any) -> Any:
                found: OpenedSession = open_session(folder / name, device, threads)
                if found.downgrade:
                    self.said.append(found.downgrade)
                return kind(model_file=str(folder / name), session=found.session, **more)

            # One session for one size: its own would be opened anew, on a device of its own choice.
            self.detector = opened(SCRFD, DETECTOR, static_shape_sessions=False)
            self.recogniser = opened(ArcFaceONNX, RECOGNISER)
            self.age: Any = opened(Attribute, AGE) if (folder / AGE).is_file() else None


def _unpacked(path: Path, folder: Path) -> Path:
    """The networks of a ZIP file in a folder, whatever folder they are in there; only known names are taken."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = Path(member.filename).name
                if name in (DETECTOR, RECOGNISER, AGE):
                    (folder / name).write_bytes(archive.read(member))
    except (OSError, zipfile.BadZipFile) as error:
        raise FramelaneError(f"The models in {path} cannot be read ({chain(error)}).") from error
    missing = [name for name in (DETECTOR, RECOGNISER) if not (folder / name).is_file()]
    if missing:
        raise FramelaneError(f"The pack {path} holds no {' and no '.join(missing)}: it is not {MODEL}.")
    return folder


def letterbox(rgb: torch.Tensor) -> tuple[NDArray[np.uint8], float]:
    """A frame (3, H, W) fitted into the upper left of a black square, resized on its device.

    Returns:
        uint8 (640, 640, 3) BGR, and the scale from the frame to it.
    """
    from torch.nn.functional import interpolate

    height, width = (int(side) for side in rgb.shape[-2:])
    ratio = height / width
    size = (SIDE, int(SIDE / ratio)) if ratio > 1 else (int(SIDE * ratio), SIDE)
    small = interpolate(rgb[None].float(), (max(size[0], 1), max(size[1], 1)), mode="bilinear", align_corners=False)[0]
    out = np.zeros((SIDE, SIDE, 3), np.uint8)
    out[: size[0], : size[1]] = small.round_().clamp_(0, 255).byte().permute(1, 2, 0).cpu().numpy()[..., ::-1]
    return out, size[0] / height


def _upright(face: Face, side: int) -> NDArray[np.float64]:
    left, top, right, bottom = (float(v) for v in face.box)
    scale = side / (max(right - left, bottom - top, 1.0) * 1.5)
    return np.array(
        [[scale, 0, side / 2 - scale * (left + right) / 2], [0, scale, side / 2 - scale * (top + bottom) / 2]]
    )
