"""A driver that answers NVENC's questions as a test wants: ``libcuda.so.1`` and ``libnvidia-encode.so.1``, compiled here.

Nothing of an encoder is replaced: FFmpeg and the ffmpeg program load these as they would load the real driver's. CUDA's
memory is the host's (malloc and memcpy), so FFmpeg's CUDA contexts really open. What is refused is read from the
environment at every call: ``STUB_INIT`` (what ``cuInit`` answers), ``STUB_API`` (NVENC's version, as in 13.0),
``STUB_SESSION`` (what ``nvEncOpenEncodeSessionEx`` answers), ``STUB_GRANTED`` (sessions granted before that) and
``STUB_CAP_N`` (a capability). A session that is granted offers H.264 and HEVC and then fails to initialise.
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
#include <stdlib.h>
#include <string.h>
static int context;
static int init(void) { const char *said = getenv("STUB_INIT"); return said ? atoi(said) : 0; }
int cuInit(unsigned flags) { return init(); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = init() ? 0 : 1; return init(); }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return init(); }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stub", size); return 0; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 7; *minor = 5; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = 256; return 0; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
int cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; return 0; }
int cuCtxCreate_v2(void **made, unsigned flags, int device) { *made = &context; return 0; }
int cuCtxPopCurrent_v2(void **popped) { if (popped) *popped = &context; return 0; }
int cuCtxGetCurrent(void **current) { *current = &context; return 0; }
int cuCtxGetDevice(int *device) { *device = 0; return 0; }
int cuMemAlloc_v2(void **memory, size_t size) { *memory = malloc(size); return 0; }
int cuMemFree_v2(void *memory) { free(memory); return 0; }
int cuMemcpy(void *to, void *from, size_t size) { memcpy(to, from, size); return 0; }
int cuGetErrorName(int error, const char **name) {
  *name = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN"; return 0;
}
int cuGetErrorString(int error, const char **text) {
  *text = error == 100 ? "no CUDA-capable device is detected" : "unknown error"; return 0;
}
"""

# The order of the functions is that of NV_ENCODE_API_FUNCTION_LIST in NVIDIA's nvEncodeAPI.h (MIT), after two 32-bit words.
_NVENC = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { unsigned a; unsigned short b, c; unsigned char d[8]; } Guid;
static const Guid kinds[2] = {
  { 0x6bc82762, 0x4e63, 0x4ca4, { 0xaa, 0x85, 0x1e, 0x50, 0xf3, 0x21, 0xf6, 0xbf } },
  { 0x790cdc88, 0x4522, 0x4d7b, { 0x94, 0x25, 0xbd, 0xa9, 0x97, 0x5f, 0x76, 0x03 } } };
static int number(const char *name, int other) { const char *said = getenv(name); return said ? atoi(said) : other; }
static int granted, session;
static int open_session(void *parameters, void **made) {
  if (granted < number("STUB_GRANTED", 0)) { granted++; *made = &session; return 0; }
  *made = number("STUB_SESSION", 0) ? NULL : &session;
  return number("STUB_SESSION", 0);
}
static int count(void *encoder, unsigned *found) { *found = 2; return 0; }
static int list(void *encoder, Guid *guids, unsigned size, unsigned *found) {
  memcpy(guids, kinds, sizeof kinds); *found = 2; return 0;
}
static int cap(void *encoder, Guid codec, unsigned *parameters, int *value) {
  char name[32]; snprintf(name, sizeof name, "STUB_CAP_%u", parameters[1]);
  *value = number(name, 4096); return 0;
}
static int refuse() { return 8; } /* NV_ENC_ERR_INVALID_PARAM */
static int succeed() { return 0; }
static const char *nothing() { return "(nothing)"; }
int NvEncodeAPIGetMaxSupportedVersion(unsigned *version) {
  const char *said = getenv("STUB_API"); int major = 99, minor = 0;
  if (said) sscanf(said, "%d.%d", &major, &minor);
  *version = major << 4 | minor; return 0;
}
int NvEncodeAPICreateInstance(unsigned *functions) {
  void **call = (void **)(functions + 2);
  for (int i = 0; i < 41; i++) call[i] = refuse;
  call[1] = count; call[4] = list; call[7] = cap; call[27] = succeed; call[29] = open_session; call[37] = nothing;
  return 0;
}
"""


def build(folder: Path, nvenc: bool = True) -> Path:
    """Compile the driver into a folder, with or without NVENC's library."""
    folder.mkdir(parents=True, exist_ok=True)
    defined = set(re.findall(r"^int (\w+)\(", _CUDA, re.MULTILINE))
    rest = "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(_names() - defined))
    _compile(folder / "libcuda.so.1", _CUDA + rest)
    if nvenc:
        _compile(folder / "libnvidia-encode.so.1", _NVENC)
    return folder


def _names() -> set[str]:
    """Every function of CUDA's that the FFmpegs at hand know by name: without one of them they take no driver."""
    import av

    libraries = list((Path(av.__file__).parent.parent / "av.libs").glob("libav[uc]*.so*"))
    libraries += [path for path in Path("/usr/lib/x86_64-linux-gnu").glob("libav[uc]*.so.*") if not path.is_symlink()]
    found = b"".join(path.read_bytes() for path in libraries)
    names = {name.decode() for name in re.findall(rb"(?<=\0)cu[A-Z][A-Za-z0-9_]{3,40}(?=\0)", found)}
    assert {"cuInit", "cuMemcpy2DAsync_v2", "cuStreamCreate"} <= names
    return names


def _compile(target: Path, source: str) -> None:
    command = ["gcc", "-shared", "-fPIC", "-w", "-O1", "-x", "c", "-", "-o", str(target)]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def ask(folder: Path | None, script: str, **environment: str) -> object:
    """Run a script in a process that finds this driver; what it prints last is JSON.

    Args:
        folder: what :func:`build` made; None is a machine without a driver.
        script: Python.
        environment: more variables.
    """
    env = {**os.environ, **environment, "LD_LIBRARY_PATH": str(folder or ""), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])
