"""RTMPose and RTMO of OpenMMLab, run by the package ``rtmlib`` (both Apache-2.0).

The publisher names no digest of the weights, so they are fetched only by ``framelane models fetch NAME --trust``. They are
archives; of those only the ONNX graph is taken.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from framelane.errors import FramelaneError, chain
from framelane.perception.poses import Floats, Options, PoseEstimator, people

if TYPE_CHECKING:
    import supervision
    import torch

_LARGEST = 1 << 30  # bytes of a graph: the largest published one has 200 MB


class _Rtm(PoseEstimator):
    """What both have in common: the tool of ``rtmlib`` around a session that we open."""

    letters: ClassVar[dict[str, str]]

    @classmethod
    def weights_name(cls, size: str) -> str:
        """The name of the weights of a size in the catalogue."""
        return f"{cls.name}_{cls.letters[size]}"

    @classmethod
    def catalogue_names(cls, options: Options) -> tuple[str, ...]:
        """The published weights of the size."""
        return (cls.weights_name(options.size),)

    def _open(self, tool: str, path: Path) -> Any:
        """``rtmlib``'s tool, with our session: it would take every core, and say nothing of where it really runs.

        Raises:
            FramelaneError: ``rtmlib`` is not installed, or the file is no model that it can run.
        """
        from framelane.models.onnx import open_session

        try:
            import rtmlib
        except ImportError as error:
            raise FramelaneError(
                f"pose.model={self.name} needs the package rtmlib, which cannot be imported ({chain(error)}): "
                "pip install --no-deps rtmlib tqdm"
            ) from error
        graph = _graph(path)
        opened = open_session(path, self.options.device, self.options.threads, graph=graph)
        self.provider, self.downgrade = opened.provider, opened.downgrade
        shape = opened.session.get_inputs()[0].shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            raise FramelaneError(f"{path} is no {self.name} that rtmlib can run: its input is {shape}.")
        kind = getattr(rtmlib, tool)
        # Its __init__ (rtmlib/tools/base.py) downloads, opens a session that takes every core, and prints; the rest of it:
        made = kind.__new__(kind)
        made.onnx_model, made.backend, made.device = str(path), "onnxruntime", self.options.device
        made.mean, made.std, made.to_openpose = None, None, False
        made.session, made.model_input_size = opened.session, _input_size(tool, shape)
        return made


def _input_size(tool: str, shape: list[Any]) -> tuple[int, int]:
    """As ``rtmlib`` wants it: RTMPose's is (width, height), RTMO's is (height, width)."""
    height, width = int(shape[2]), int(shape[3])
    return (width, height) if tool == "RTMPose" else (height, width)


class RtmPose(_Rtm):
    """RTMPose (arXiv 2303.07399): finds the joints of one person in a crop; NanoDet finds the people."""

    name = "rtmpose"
    letters: ClassVar[dict[str, str]] = {"nano": "s", "small": "s", "medium": "m", "large": "x"}

    def __init__(self, options: Options) -> None:
        """Open the model and the detector."""
        super().__init__(options)
        from framelane.models.store import resolve
        from framelane.perception.detectors import DetectorOptions, load_detector

        self.tool = self._open("RTMPose", resolve(self.weights_name(options.size)))
        # RGB, 0 to 255: rtmlib/tools/pose_estimation/rtmpose.py:15-16.
        self.tool.mean, self.tool.std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        self.detector = load_detector(
            "nanodet", DetectorOptions(options.device, options.threads, options.lowest, ("person",))
        )

    @classmethod
    def catalogue_names(cls, options: Options) -> tuple[str, ...]:
        """The published weights of the size, and the detector's."""
        return cls.weights_name(options.size), "nanodet"

    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`PoseEstimator.find`."""
        return [self._one(frame) for frame in rgb]

    def _one(self, rgb: torch.Tensor) -> supervision.Detections:
        seen = self.detector.detect(rgb[None])[0]
        seen = seen[seen.confidence >= self.options.lowest] if len(seen) else seen
        if not len(seen):
            return people(np.zeros((0, 17, 3), np.float32), np.zeros(0, np.float32))
        points, scores = self.tool(_bgr(rgb), bboxes=seen.xyxy.tolist())
        return people(_joined(points, scores), seen.confidence, seen.xyxy)


class Rtmo(_Rtm):
    """RTMO (arXiv 2312.07526): everybody in one look."""

    name = "rtmo"
    letters: ClassVar[dict[str, str]] = {"nano": "s", "small": "s", "medium": "m", "large": "l"}

    def __init__(self, options: Options) -> None:
        """Open the model."""
        super().__init__(options)
        from framelane.models.store import resolve

        self.tool = self._open("RTMO", resolve(self.weights_name(options.size)))
        self.tool.nms_thr, self.tool.score_thr = 0.45, options.lowest

    def find(self, rgb: torch.Tensor) -> list[supervision.Detections]:
        """See :meth:`PoseEstimator.find`; a person's score is the mean of the joints', as RTMO's own is not given out."""
        found = []
        for frame in rgb:
            points, scores = self.tool(_bgr(frame))
            joints = _joined(points, scores)
            means = joints[..., 2].mean(axis=1)
            some = means > 0  # rtmlib gives one person of zeros where there is nobody
            found.append(people(joints[some], means[some]))
        return found


def _bgr(rgb: torch.Tensor) -> Any:
    """(3, H, W) as OpenCV has it, which ``rtmlib`` works on."""
    return np.ascontiguousarray(rgb.permute(1, 2, 0).cpu().numpy()[..., ::-1])


def _joined(points: Any, scores: Any) -> Floats:
    """(n, 17, 2) and (n, 17) as (n, 17, 3), scores held to 0 to 1: peaks of SimCC may be higher."""
    return np.concatenate([points, np.clip(scores, 0, 1)[..., None]], axis=-1).astype(np.float32)


def _graph(path: Path) -> bytes | None:
    """The ONNX graph in the publisher's archive; None where the file is the graph itself.

    Raises:
        FramelaneError: the archive is damaged, or holds no graph or one too large.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            graphs = [info for info in archive.infolist() if info.filename.endswith(".onnx")]
            if len(graphs) != 1 or graphs[0].file_size > _LARGEST:
                raise FramelaneError(f"{path} should hold exactly one ONNX graph of at most 1 GB, not {len(graphs)}.")
            return archive.read(graphs[0])
    except (zipfile.BadZipFile, OSError) as error:
        raise FramelaneError(f"The archive {path} cannot be read ({chain(error)}).") from error
