"""The embedded detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from framelane.perception.detectors import COCO_NAMES, Detector, DetectorOptions, FloatArray, IntArray

if TYPE_CHECKING:
    import supervision
    import torch


class NanoDet(Detector):
    """NanoDet-Plus-m at 416 pixels, COCO-80, 7.6 MB: made for a CPU.

    Frames are letterboxed, not stretched: a 16:9 frame squeezed into the square makes people 1.8 times thinner than
    the network learned them. On the demo clip ``walker.mp4`` stretching halves the number of people found.
    It misses small or blurred people and takes litter for a ball.
    """

    name = "nanodet"
    side = 416
    strides = (8, 16, 32)
    nms_iou = 0.6  # as in NanoDet's own multiclass_nms
    # Two labels on one thing (car and truck) become the better one; a rider and the bicycle overlap less than this.
    same_thing_iou = 0.8
    most = 100
    mean = (103.53, 116.28, 123.675)  # of BGR, 0 to 255
    std = (57.375, 57.12, 58.395)

    def __init__(self, options: DetectorOptions) -> None:
        """Open the embedded model (see :func:`load_detector`)."""
        super().__init__(options)
        from framelane.models.onnx import open_session
        from framelane.models.store import resolve

        opened = open_session(resolve("nanodet"), options.device, options.threads)
        self.session = opened.session
        self.provider, self.downgrade = opened.provider, opened.downgrade
        self._input = self.session.get_inputs()[0].name
        self._kept = np.array(sorted(self.class_ids), dtype=np.int64)

    def detect(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`Detector.detect`. The model takes one frame at a time."""
        height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
        return [self._one(frame, height, width) for frame in rgb]

    def _one(self, rgb: torch.Tensor, height: int, width: int) -> supervision.Detections:
        pixels, scale, left, top = self.letterbox(rgb)
        outputs = self.session.run(None, {self._input: pixels})
        boxes, scores, ids = self._candidates(outputs)
        boxes = (boxes - np.array([left, top, left, top], np.float32)) / np.float32(scale)
        boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        return self._suppress(boxes, scores, ids)

    def letterbox(self, rgb: torch.Tensor) -> tuple[FloatArray, float, int, int]:
        """A frame (3, H, W) as the network wants it, resized on the frame's device so that only 0.5 MB leaves it.

        Returns:
            float32 (1, 3, 416, 416) normalised BGR; the scale from frame to network; left and top margin in pixels.
        """
        from torch.nn.functional import interpolate

        height, width = rgb.shape[-2:]
        scale = self.side / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        # torch resizes bytes on a CPU only; elsewhere through float.
        source = rgb[None] if rgb.device.type == "cpu" else rgb[None].float()
        small = interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)[0]
        small = small if small.dtype == rgb.dtype else small.round_().clamp_(0, 255).to(rgb.dtype)
        top, left = (self.side - size[0]) // 2, (self.side - size[1]) // 2
        pixels = np.empty((1, 3, self.side, self.side), np.float32)
        for plane, source_plane, mean, std in zip(
            pixels[0], small.cpu().numpy()[::-1], self.mean, self.std, strict=True
        ):
            plane.fill(-mean / std)  # black bars
            np.multiply(source_plane, np.float32(1 / std), out=plane[top : top + size[0], left : left + size[1]])
            plane[top : top + size[0], left : left + size[1]] -= np.float32(mean / std)
        return pixels, scale, left, top

    def _candidates(self, outputs: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray, IntArray]:
        """All (point, class) pairs above the lowest score: boxes (n, 4) in network pixels, scores (n,), ids (n,)."""
        by_shape = {output.shape: output[0] for output in outputs}
        found: list[tuple[FloatArray, FloatArray, IntArray]] = []
        for stride in self.strides:
            cells = self.side // stride
            scores = by_shape[1, cells * cells, len(COCO_NAMES)][:, self._kept]
            points, columns = np.nonzero(scores >= self.lowest_score)
            sides = distances(by_shape[1, cells * cells, 44][points]) * np.float32(stride)
            centre = (np.stack([points % cells, points // cells], axis=1).astype(np.float32) + 0.5) * np.float32(stride)
            boxes = np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], axis=1)
            found.append((boxes, scores[points, columns], self._kept[columns]))
        boxes, kept_scores, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return boxes, kept_scores, ids

    def _suppress(self, boxes: FloatArray, scores: FloatArray, ids: IntArray) -> supervision.Detections:
        import cv2
        import supervision as sv

        size = boxes[:, 2:] - boxes[:, :2]
        solid = (size > 0).all(axis=1)
        boxes, scores, ids = boxes[solid], scores[solid], ids[solid]
        xywh = np.concatenate([boxes[:, :2], size[solid]], axis=1)
        if len(boxes):
            dnn: Any = cv2.dnn  # its stubs do not know that it takes arrays
            best = dnn.NMSBoxesBatched(xywh, scores, ids.astype(np.int32), 0.0, self.nms_iou)
            again = dnn.NMSBoxes(xywh[best], scores[best], 0.0, self.same_thing_iou)
            kept = best[again][: self.most]
            boxes, scores, ids = boxes[kept], scores[kept], ids[kept]
        names = np.array([COCO_NAMES[index] for index in ids], dtype=np.str_)
        return sv.Detections(xyxy=boxes, confidence=scores, class_id=ids, data={"class_name": names})


def distances(distributions: FloatArray) -> FloatArray:
    """Distribution focal loss read backwards (Li et al. 2020, eq. 6): the expected bin of each side.

    Args:
        distributions: (n, 4 * bins) logits, for left, top, right and bottom.

    Returns:
        (n, 4) distances in strides.
    """
    logits = distributions.reshape(len(distributions), 4, distributions.shape[-1] // 4)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    bins = np.arange(logits.shape[-1], dtype=np.float32)
    return np.asarray((weights @ bins) / weights.sum(axis=-1), dtype=np.float32)
