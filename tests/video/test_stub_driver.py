"""What the rungs say of drivers that refuse: the real decoders meet a driver compiled here that answers so."""

from __future__ import annotations

import pytest

from support.clips import WALKER, needs_ffmpeg
from support.stub_driver import ask, build, needs_compiler

# Our own check of the driver, what the rung says of the clip, and what it says where that check does not stand before it.
ASK = """
import json, sys
from pathlib import Path
from framelane.video.clip import probe as probe_clip
from framelane.video.decoders import Pass, choose_decoder, rung_named, try_rung
clip, name = probe_clip(Path(sys.argv[1])), sys.argv[2]
said = [try_rung(rung_named(name), clip, "cuda").reason]
try:
    next(rung_named(name).frames(Pass(clip, device="cuda")))
    said.append("It decoded.")
except Exception as error:
    said.append(str(error))
said.append(choose_decoder(clip, device="cuda").reason)
print(json.dumps(said))
"""
DRIVERS = {
    "no card": ({"init": 100}, "sees no card"),
    "an old one": ({"version": 9000}, "too old"),
    "one without a function": ({"without": "cuMemAllocManaged"}, "too old"),
    "no NVDEC": ({"nvdec": False}, "libnvcuvid.so.1 is missing"),
    "a format refused": ({}, "of this card does not decode H.264 with 8 bits, 960x540"),
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Builds a driver once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = build(tmp_path_factory.mktemp("driver"), **DRIVERS[kind][0])
        return made[kind]

    return of


@needs_compiler
@pytest.mark.parametrize("kind", DRIVERS)
def test_pyav_names_the_right_cause(driver, kind):
    own, tried, chosen = ask(ASK, WALKER, "pyav", driver=driver(kind))
    assert DRIVERS[kind][1] in own
    assert own.endswith(".")
    # FFmpeg itself takes the stub that is only old by its number, and then finds no format that it decodes.
    assert ("does not decode" if kind == "an old one" else DRIVERS[kind][1]) in tried
    assert chosen.startswith("walker.mp4 is decoded on the CPU")
    assert own in chosen


@needs_compiler
@needs_ffmpeg
@pytest.mark.parametrize("kind", ["no card", "no NVDEC", "a format refused"])
def test_the_ffmpeg_program_refuses_instead_of_decoding_on_the_cpu(driver, kind):
    """It would go over to its own decoder with a line in its log: here that is an end."""
    own, tried, _ = ask(ASK, WALKER, "ffmpeg", driver=driver(kind))
    assert DRIVERS[kind][1] in own
    assert DRIVERS[kind][1] in tried


@needs_compiler
def test_a_driver_that_answers_does_not_excuse_a_missing_package(driver):
    """Or, where PyNvVideoCodec is installed: NVENC's library, which it loads even for decoding."""
    own, _, _ = ask(ASK, WALKER, "nvcodec", driver=driver("a format refused"))
    assert "PyNvVideoCodec is not installed" in own or "libnvidia-encode.so.1 is missing" in own


CONTEXTS = """
import json, sys
import av
from av.codec.hwaccel import HWAccel
from framelane.video.decoders.pyav import SHARED
said = []
for options in (None, SHARED):
    try:
        av.open(sys.argv[1], hwaccel=HWAccel("cuda", device=0, is_hw_owned=True, options=options)).close()
        said.append("opened")
    except OSError as error:
        said.append(str(error.errno))
print(json.dumps(said))
"""


@needs_compiler
def test_ffmpeg_joins_the_context_that_pytorch_has_made_active(tmp_path):
    """PyAV's own way, the primary context, is refused then: ENOTSUP."""
    assert ask(CONTEXTS, WALKER, driver=build(tmp_path / "driver", active=True)) == ["95", "opened"]
