"""Detectors of the DETR family from ``transformers``: boxes, and for each object the attention that found it.

Weights are a folder with ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``, as model hubs hold
them. Nothing is unpickled, no code of the folder runs, and nothing is looked up on the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from framelane.errors import FramelaneError, chain
from framelane.models import store
from framelane.models.torch_compat import ensure_torchvision
from framelane.perception.deformable import Samples, grid_for, maps_of, sampling
from framelane.perception.detectors import COCO_NAMES, Detector, DetectorOptions, IntArray, coco_ids

if TYPE_CHECKING:
    import supervision
    from torch import Tensor


class Detr(Detector):
    """A deformable DETR: boxes and scores as ``transformers`` post-processes them, and ``data["attention"]``.

    One thing is left out of that post-processing's answer: a query that has two labels (car 0.8, truck 0.3) is one
    object, the better one, for two tracks would follow it otherwise. Boxes are clipped to the frame; what is left with
    no area goes. The object's map is that of its query, see :mod:`framelane.perception.deformable`.

    Attributes:
        model: the model, in evaluation mode; FP16 under autocast on a GPU, FP32 on a CPU.
        processor: its image processor.
    """

    has_attention = True
    most = 100
    architecture: ClassVar[tuple[str, str]]
    """Classes of ``transformers``: the model, the image processor."""
    by_size: ClassVar[dict[str, str]]
    """``attention.detector_size`` to the name in the catalogue."""

    def __init__(self, options: DetectorOptions, folder: Path | None = None) -> None:
        """Open the model of the catalogue (see :func:`~framelane.perception.detectors.load_detector`), or a folder."""
        super().__init__(options)
        import torch

        if options.device == "cpu":
            torch.set_num_threads(options.threads or os.cpu_count() or 1)
        folder = folder or store.resolve(self.by_size[options.size])
        self.model, self.processor = _opened(folder, *self.architecture)
        self.model.eval().requires_grad_(False).to(options.device)
        self._coco = coco_ids(self.model.config.id2label)
        if (self._coco < 0).all():
            raise FramelaneError(
                f"The model in {folder} knows none of the COCO classes; {self.name} needs one that does."
            )
        self.provider = f"torch {self.model.device}"

    @classmethod
    def from_folder(cls, folder: Path, options: DetectorOptions) -> Detr:
        """Open a model that is not in the catalogue, such as one trained further; its files are trusted as they are.

        Args:
            folder: with ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``.
            options: for it; its size is the folder's.

        Raises:
            FramelaneError: the folder does not hold such a model.
        """
        return cls(options, folder)

    @classmethod
    def catalogue_name(cls, size: str) -> str:
        """See :meth:`Detector.catalogue_name`."""
        return cls.by_size[size]

    def detect(self, rgb: Tensor) -> list[supervision.Detections]:
        """See :meth:`Detector.detect`; all frames go through the model at once.

        Returns:
            Also ``data["attention"]``: float32 (n, gh, gw), the object's own attention over the frame, sum 1.
        """
        import torch

        if not len(rgb):
            return []
        frame = (int(rgb.shape[-2]), int(rgb.shape[-1]))
        with torch.inference_mode():
            inputs = self.prepare(rgb)
            with self._precision(), sampling(self.model) as samples:
                outputs = self.model(**inputs)
            return self._detections(outputs, samples, _extent(inputs), frame)

    def prepare(self, rgb: Tensor) -> dict[str, Tensor]:
        """Frames (N, 3, H, W) as the network wants them, by the model's own image processor, on its device."""
        # The format is given, for a frame of 3 pixels in width or height would be guessed at.
        inputs = self.processor(
            images=list(rgb.to(self.device)), return_tensors="pt", input_data_format="channels_first"
        )
        return {name: value.to(self.device) for name, value in inputs.items()}

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        half = self.half and self.model.device.type == "cuda"
        return torch.autocast("cuda", dtype=torch.float16) if half else nullcontext()

    def _detections(
        self, outputs: Any, samples: Samples, extent: Tensor, frame: tuple[int, int]
    ) -> list[supervision.Detections]:
        import supervision as sv
        import torch

        # FP16 counts in whole pixels from 1024 on.
        boxes = outputs.pred_boxes.float()
        found = [self._kept(*rows) for rows in self._ranked(outputs.logits.float(), len(boxes[0]))]
        frames = np.repeat(np.arange(len(found)), [len(queries) for _, _, queries in found])
        places = [
            torch.from_numpy(index).to(boxes.device)
            for index in (frames, np.concatenate([queries for _, _, queries in found]))
        ]
        maps = maps_of(samples, places[0], places[1], extent, grid_for(*frame)).cpu().numpy()
        corners = _corners(boxes[places[0], places[1]], frame)
        answers = []
        for index, (scores, ids, _) in enumerate(found):
            own = frames == index
            names = np.array([COCO_NAMES[label] for label in ids], dtype=np.str_)
            detections = sv.Detections(
                xyxy=corners[own],
                confidence=scores,
                class_id=ids,
                data={"class_name": names, "attention": maps[own]},
            )
            solid = (detections.xyxy[:, 2:] > detections.xyxy[:, :2]).all(axis=1)
            answers.append(detections[solid & (np.cumsum(solid) <= self.most)])
        return answers

    def _ranked(self, logits: Tensor, queries: int) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """Scores, labels and queries of each frame, best first, by the library's own post-processing.

        That forgets which query a box came from. So it is given the query's number where it expects the box, and hands
        out the number: what it ranks, drops and gathers stays its own affair.
        """
        import torch

        numbers = logits.new_zeros(len(logits), queries, 4)  # centre x, y, width, height
        numbers[..., :2] = torch.arange(queries, device=logits.device)[:, None]
        numbered = SimpleNamespace(logits=logits, pred_boxes=numbers)
        for rows in self.processor.post_process_object_detection(numbered, threshold=self.lowest_score):
            number = rows["boxes"][:, 0].round().long()
            yield tuple(part.cpu().numpy() for part in (rows["scores"], rows["labels"], number))

    def _kept(
        self, scores: npt.NDArray[Any], labels: npt.NDArray[Any], queries: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.float32], IntArray, IntArray]:
        """Of the wanted classes, each query once."""
        ids = self._coco[labels]
        wanted = np.isin(ids, sorted(self.class_ids))
        scores, ids, queries = scores[wanted], ids[wanted], queries[wanted]
        first = np.sort(np.unique(queries, return_index=True)[1])
        return scores[first], ids[first], queries[first]


class RfDetr(Detr):
    """RF-DETR (Robinson et al. 2025, arXiv 2511.09554)."""

    name = "rfdetr"
    # By class, never by what preprocessor_config.json says: that names DETR's, which would read sigmoids as a softmax.
    architecture = ("RfDetrForObjectDetection", "RfDetrImageProcessor")
    by_size = {size: f"rfdetr_{size}" for size in ("nano", "small", "medium", "large")}  # noqa: RUF012


class RtDetr(Detr):
    """RT-DETR (Zhao et al. 2024, arXiv 2304.08069)."""

    name = "rtdetr"
    architecture = ("RTDetrForObjectDetection", "RTDetrImageProcessor")
    by_size = {"nano": "rtdetr_r18", "small": "rtdetr_r34", "medium": "rtdetr_r50", "large": "rtdetr_r101"}  # noqa: RUF012


class DeformableDetr(Detr):
    """Deformable DETR (Zhu et al. 2021, arXiv 2010.04159); there is one size."""

    name = "deformable_detr"
    architecture = ("DeformableDetrForObjectDetection", "DeformableDetrImageProcessor")
    by_size = dict.fromkeys(("nano", "small", "medium", "large"), "deformable_detr")


def _corners(boxes: Tensor, frame: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Boxes (n, 4) as centre and size from 0 to 1, to corners in pixels, clipped to the frame."""
    from transformers.image_transforms import center_to_corners_format

    height, width = frame
    limits = boxes.new_tensor([width, height, width, height])
    corners = center_to_corners_format(boxes) * limits
    return np.asarray(corners.clamp(min=0).minimum(limits).cpu().numpy(), dtype=np.float32)


def _extent(inputs: Mapping[str, Tensor]) -> Tensor:
    """(N, 2): how much of the input's width and height the frame fills; the image processors pad right and below."""
    import torch

    pixels = inputs["pixel_values"]
    mask = inputs.get("pixel_mask")
    if mask is None:
        return torch.ones(len(pixels), 2, device=pixels.device)
    return torch.stack([mask[:, 0].float().mean(dim=1), mask[:, :, 0].float().mean(dim=1)], dim=1)


def _opened(folder: Path, model_class: str, processor_class: str) -> tuple[Any, Any]:
    ensure_torchvision()
    import torch
    import transformers

    try:
        with _quiet():
            model, about = getattr(transformers, model_class).from_pretrained(
                folder,
                attn_implementation="eager",
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # told below, by name
                output_loading_info=True,
            )
            processor = getattr(transformers, processor_class).from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise FramelaneError(f"The model in {folder} cannot be opened as {model_class} ({chain(error)}).") from error
    # transformers would fill these at random and only warn.
    unfilled = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in about[kind])
    if unfilled:
        raise FramelaneError(
            f"The weights in {folder} do not fit {model_class}: {len(unfilled)} of its tensors are missing or have "
            f"another shape, the first is {unfilled[0]}."
        )
    return model, processor


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar and the loading report of ``transformers``: the one would write into ours."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
