"""An NVIDIA driver that answers as a test wants: small shared libraries, compiled here, for the branches that refuse.

Nothing of the decoders is replaced: FFmpeg, PyNvVideoCodec and our own check load these as they would load the real
driver's. The names that FFmpeg looks up are read out of the FFmpeg at hand, so that any version finds all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

_CUDA = r"""
#include <stddef.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int *count) { *count = INIT ? 0 : 1; return INIT; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return INIT; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = ACTIVE; return 0; }
static int context;
int cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; return 0; }
int cuCtxCreate_v2(void **made, unsigned flags, int device) { *made = &context; return 0; }
int cuCtxPopCurrent_v2(void **popped) { if (popped) *popped = &context; return 0; }
int cuCtxGetCurrent(void **current) { *current = &context; return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuGetErrorName(int error, const char **name) {
  *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : error == 801 ? "CUDA_ERROR_NOT_SUPPORTED" : "CUDA_ERROR_UNKNOWN";
  return 0;
}
int cuGetErrorString(int error, const char **text) {
  *text = error == 100 ? "no CUDA-capable device is detected" : error == 801 ? "operation not supported" : "unknown error";
  return 0;
}
"""
# CUVIDDECODECAPS and CUVIDDECODECREATEINFO are left as FFmpeg zeroed them: bIsSupported says no.
_CUVID = r"""
int cuvidGetDecoderCaps(void *caps) { return 0; }
int cuvidCreateDecoder(void **decoder, void *info) { *decoder = 0; return 801; }
"""


def build(
    folder: Path, *, init: int = 0, version: int = 12080, nvdec: bool = True, without: str = "", active: bool = False
) -> Path:
    """Compile a driver.

    Args:
        folder: where ``libcuda.so.1`` and ``libnvcuvid.so.1`` are put.
        init: what ``cuInit`` answers; 0 is success, 100 CUDA_ERROR_NO_DEVICE.
        version: of CUDA, as ``cuDriverGetVersion`` counts.
        nvdec: whether ``libnvcuvid.so.1`` exists.
        active: whether the primary context is in use already, as PyTorch leaves it.
        without: a function that this driver does not have, as an old one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = _names() - {without}
    _compile(
        folder / "libcuda.so.1",
        _CUDA,
        {n for n in names if not n.startswith("cuvid")},
        INIT=init,
        VERSION=version,
        ACTIVE=int(active),
    )
    if nvdec:
        _compile(folder / "libnvcuvid.so.1", _CUVID, {n for n in names if n.startswith("cuvid")})
    return folder


def _names() -> set[str]:
    """Every function of CUDA's and NVDEC's that PyAV's FFmpeg knows by name."""
    import av

    libraries = Path(av.__file__).parent.parent / "av.libs"
    found = b"".join(path.read_bytes() for path in libraries.glob("libav[uc]*.so*"))
    names = {name.decode() for name in re.findall(rb"(?<=\0)cu(?:vid)?[A-Z][A-Za-z0-9_]{3,40}(?=\0)", found)}
    assert {"cuInit", "cuMemcpy2DAsync_v2", "cuvidCreateDecoder"} <= names
    return names


def _compile(target: Path, own: str, names: set[str], **macros: int) -> None:
    defined = set(re.findall(r"^int (\w+)\(", own, re.MULTILINE))
    rest = "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(names - defined))
    values = [f"-D{key}={value}" for key, value in macros.items()]
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-w",
        f"-Wl,-soname,{target.name}",
        *values,
        "-x",
        "c",
        "-",
        "-o",
        str(target),
    ]
    subprocess.run(command, input=own + rest, text=True, check=True, capture_output=True)


def ask(code: str, *arguments: Path | str, driver: Path | None) -> list[str]:
    """What a child process with this driver prints as JSON, after ``code`` was run in it with ``arguments``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if driver is not None:
        environment["LD_LIBRARY_PATH"] = f"{driver}{os.pathsep}{environment.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found
