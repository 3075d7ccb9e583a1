"""Run by itself, in a process of its own: a YOLO26-pose with random weights, exported, and what ``ultralytics`` finds.

Importing ultralytics turns off OpenCV's threads for the whole process, so no test imports it.

Usage: python -m support.export_yolo_pose FOLDER, which holds ``frames.npy`` (N, H, W, 3) RGB and gets
``yolo26n-pose.onnx`` and ``found.npz`` (xyxy, confidence, joints by frame).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LOWEST = 0.1


def main(folder: Path) -> None:
    os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_CONFIG_DIR=str(folder))
    from framelane.models.torch_compat import ensure_torchvision

    ensure_torchvision()
    import numpy as np
    import torch
    from ultralytics import YOLO

    os.chdir(folder)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = YOLO("yolo26n-pose.yaml")
    with torch.no_grad():
        for key, parameter in model.model.named_parameters():
            if "one2one_cv" in key and key.endswith(".2.bias"):
                spread = torch.randn(parameter.shape)
                parameter.copy_(spread * 0.2 + 0.8 if "cv2" in key else spread * 1.5 - 2.0)
    Path(model.export(format="onnx", imgsz=[64, 96], simplify=False, verbose=False, nms=False))
    images = [np.ascontiguousarray(frame[..., ::-1]) for frame in np.load("frames.npy")]
    own = YOLO("yolo26n-pose.onnx", task="pose")
    arrays = {}
    for index, image in enumerate(images):
        found = own.predict(image, conf=LOWEST, imgsz=[64, 96], max_det=300, verbose=False)[0]
        arrays[f"xyxy{index}"] = found.boxes.xyxy.numpy()
        arrays[f"confidence{index}"] = found.boxes.conf.numpy()
        arrays[f"joints{index}"] = found.keypoints.data.numpy()
    np.savez("found.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
