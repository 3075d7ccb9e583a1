"""Why NVENC refuses: the real rungs meet a driver that was compiled for the test, and must name the right cause."""

from __future__ import annotations

import json
import shutil

import pytest

from support.stub_nvenc import ask, build, needs_compiler

pytestmark = needs_compiler

# Every case in one process: the driver reads its answers from the environment at each call.
_PRELUDE = """
import ctypes, json, os
from dataclasses import replace
from fractions import Fraction
from framelane.video.colour import ColourTags
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.encoders.trial import try_rung
libc = ctypes.CDLL(None)
spec = EncodeSpec(encoder="h264_nvenc", width=320, height=192, pixel_format="yuv420p", rate=Fraction(25),
                  time_base=Fraction(1, 12800), colour=ColourTags(1, 1, 1, 1, 192), quality=20, preset="p3", threads=1,
                  rung="pyav")
def given(**answers):
    for name in [n for n in os.environ if n.startswith("STUB_")]:
        del os.environ[name]
    os.environ.update(answers)
"""

_CASES = """
said = {}
for rung, program in RUNGS:
    for name, answers, more in CASES:
        given(**answers)
        trial = try_rung(replace(spec, rung=rung, program=program, **more))
        assert not trial.ok
        said[f"{rung}: {name}"] = [trial.cause, trial.reason]
print(json.dumps(said))
"""

CASES = [
    ("no device", {"STUB_INIT": "100"}, {}),
    ("old driver", {"STUB_API": "10.0"}, {}),
    ("session refused", {"STUB_SESSION": "10"}, {}),
    ("session refused (key)", {"STUB_SESSION": "21"}, {}),
    ("no NVENC", {"STUB_SESSION": "2"}, {}),
    ("no B-frames", {"STUB_CAP_0": "0"}, {"encoder": "hevc_nvenc", "b_frames": 2}),
    ("no 10 bits", {"STUB_CAP_39": "0"}, {"encoder": "hevc_nvenc", "pixel_format": "yuv420p10le"}),
    ("too large", {"STUB_CAP_16": "300"}, {}),
    ("", {}, {}),  # a session is granted, and then initialising it fails: no cause that we know
]


def rungs():
    program = shutil.which("ffmpeg")
    listed = [("pyav", "")]
    return [*listed, ("ffmpeg", program)] if program else listed


@pytest.fixture(scope="module")
def drivers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drivers")
    return build(folder / "whole"), build(folder / "no-nvenc", nvenc=False)


@pytest.fixture(scope="module")
def refusals(drivers):
    whole, without = drivers
    script = f"{_PRELUDE}\nRUNGS, CASES = {rungs()!r}, {CASES!r}\n{_CASES}"
    bare = f"{_PRELUDE}\nRUNGS, CASES = {rungs()!r}, [('none', {{}}, {{}})]\n{_CASES}"
    return ask(whole, script), ask(without, bare), ask(None, bare)


@pytest.mark.parametrize("rung", [name for name, _ in rungs()])
@pytest.mark.parametrize("case", [name for name, *_ in CASES])
def test_the_sentence_names_the_cause(refusals, rung, case):
    cause, reason = refusals[0][f"{rung}: {case}"]
    assert cause == case.partition(" (")[0], reason
    assert reason[0].isupper() or reason.startswith(("h264_", "hevc_"))
    assert reason.endswith(".")
    assert "\n" not in reason


@pytest.mark.parametrize("rung", [name for name, _ in rungs()])
def test_figures_of_the_driver_are_in_the_sentence(refusals, rung):
    said = refusals[0]
    assert "API 10.0" in said[f"{rung}: old driver"][1]
    assert "or newer" in said[f"{rung}: old driver"][1]
    assert "0 B-frames in this codec, not 2" in said[f"{rung}: no B-frames"][1]
    assert "Width 320 is more than the 300" in said[f"{rung}: too large"][1]


@pytest.mark.parametrize("rung", [name for name, _ in rungs()])
def test_a_missing_library_and_a_missing_driver_are_told_apart(refusals, rung):
    assert refusals[1][f"{rung}: none"][0] == "no NVENC library"
    assert "NVIDIA_DRIVER_CAPABILITIES" in refusals[1][f"{rung}: none"][1]
    assert refusals[2][f"{rung}: none"][0] == "no driver"


_ON_DEVICE = """
from pathlib import Path
import numpy as np
from av.video.frame import CudaContext, VideoFrame
from framelane.video.encoders.base import SESSIONS
from framelane.video.encoders.refusal import SessionRefused

# A DLPack capsule that says "CUDA": in this driver's world its memory is the host's.
class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("number", ctypes.c_int32), ("ndim", ctypes.c_int32),
                ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("offset", ctypes.c_uint64)]
class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]
freed = []
deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(freed.append)
make = ctypes.pythonapi.PyCapsule_New
make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
alive = []
def lent(array):
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    managed = Managed(Tensor(array.ctypes.data, 2, 0, array.ndim, 1, 8, 1, ctypes.addressof(shape), None, 0), None,
                      ctypes.cast(deleter, ctypes.c_void_p))
    alive.extend([array, shape, managed])
    return make(ctypes.addressof(managed), b"dltensor", None)

given(STUB_SESSION="10")
context = CudaContext(0)
planes = lent(np.zeros((192, 320), np.uint8)), lent(np.zeros((96, 160, 2), np.uint8))
frame = VideoFrame.from_dlpack(planes, format="nv12", cuda_context=context)
session = SESSIONS["pyav"](Path(os.environ["FOLDER"]) / "s.nut", replace(spec, device="cuda"), True)
try:
    session.send(frame, 0, 512)
    said = ["it was granted"]
except SessionRefused as refused:
    said = [refused.cause, str(refused)]
session.abandon()
kind = [frame.format.name, frame.sw_format.name]
del frame, session
print(json.dumps([*said, *kind, len(freed)]))
"""


def test_a_frame_in_device_memory_reaches_the_encoder(drivers, tmp_path):
    """FFmpeg's CUDA context opens over the frame, NVENC is asked for a session on it, and the memory is freed."""
    cause, _, kind, inner, freed = ask(drivers[0], _PRELUDE + _ON_DEVICE, FOLDER=str(tmp_path))
    assert (cause, kind, inner) == ("session refused", "cuda", "nv12")
    assert freed == 2


_JOB = """
import framelane, sys
from framelane.errors import FramelaneError
import support.processors
from framelane.video import writer
from framelane.video.encoders import choice
from framelane.video.encoders.trial import Trial
writer.RETRY_S = 0.01
# The trial passed, as on a card where the other sessions were opened afterwards.
choice.try_rung = lambda spec: Trial(True, "It worked.")
given(STUB_SESSION="10")
try:
    framelane.process_video(os.environ["CLIP"], "copy", output=os.environ["OUT"],
                            overrides={"hardware.encoder": "pyav", "gif.enabled": False, "engine.min_free_mb": 0})
    print(json.dumps("it was granted"))
except FramelaneError as error:
    print(json.dumps(str(error)))
"""


def test_a_session_refused_in_the_middle_of_a_batch_is_said_with_what_to_do(drivers, tmp_path):
    from support.clips import WALKER

    path = {"CLIP": str(WALKER), "OUT": str(tmp_path / "o.mp4"), "PYTHONPATH": "tests"}
    said = ask(drivers[0], _PRELUDE + _JOB, **path)
    assert "refused this segment twice. NVENC refused another session" in said
    assert "--encoder cpu" in said
    assert not (tmp_path / "o.mp4").exists()


def test_a_rung_asked_for_by_name_that_refuses_is_an_error(drivers, tmp_path):
    from support.clips import WALKER

    script = _PRELUDE + _JOB.replace('choice.try_rung = lambda spec: Trial(True, "It worked.")', "")
    path = {"CLIP": str(WALKER), "OUT": str(tmp_path / "o.mp4"), "PYTHONPATH": "tests"}
    said = ask(drivers[0], script, **path)
    assert said.startswith("--encoder pyav cannot encode this clip in H.264: NVENC refused another session")
    assert json.dumps(said).count("\\n") == 0
