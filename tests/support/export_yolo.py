"""Run by itself, in a process of its own: a YOLO with random weights, exported, and what ``ultralytics`` finds with it.

Importing ultralytics turns off OpenCV's threads for the whole process, so no test imports it.

Usage: python -m support.export_yolo FOLDER, which holds ``frames.npy`` (N, H, W, 3) RGB and gets ``yolo26n.onnx``,
``raw.onnx`` (exported without the end-to-end head) and ``found.npz`` (xyxy, confidence, names by frame).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LOWEST = 0.1


def main(folder: Path) -> None:
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(folder))
    from framelane.models.torch_compat import ensure_torchvision
    from framelane.perception.detectors import COCO_NAMES

    ensure_torchvision()
    import numpy as np
    import torch
    from ultralytics import YOLO

    def spread(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape) * 1.5 - 3.0  # scores from 0.001 to 0.9

    os.chdir(folder)
    torch.set_num_threads(1)
    for name, options in (("raw", {}), ("yolo26n", {"nms": False})):
        torch.manual_seed(0)
        model = YOLO("yolo26n.yaml")
        model.model.names = dict(enumerate(COCO_NAMES))
        with torch.no_grad():
            for key, parameter in model.model.named_parameters():
                if "one2one_cv" in key and key.endswith(".2.bias"):
                    parameter.copy_(
                        torch.randn(parameter.shape) * 0.2 + 0.8 if "cv2" in key else spread(parameter.shape)
                    )
        exported = Path(model.export(format="onnx", imgsz=[64, 96], simplify=False, verbose=False, **options))
        exported.rename(f"{name}.onnx")
    images = [np.ascontiguousarray(frame[..., ::-1]) for frame in np.load("frames.npy")]
    own = YOLO("yolo26n.onnx", task="detect")
    found = [own.predict(image, conf=LOWEST, imgsz=[64, 96], max_det=300, verbose=False)[0].boxes for image in images]
    arrays = {}
    for index, boxes in enumerate(found):
        arrays[f"xyxy{index}"] = boxes.xyxy.numpy()
        arrays[f"confidence{index}"] = boxes.conf.numpy()
        arrays[f"id{index}"] = boxes.cls.numpy().astype(int)
    np.savez("found.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
