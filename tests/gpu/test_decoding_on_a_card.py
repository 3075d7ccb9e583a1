"""Every rung that this card has, against the CPU's decoder: equal samples, times and durations, wherever it begins."""

from __future__ import annotations

import pytest
import torch

from framelane.video.clip import probe as probe_clip
from framelane.video.decoders import choose_decoder, probe, rung_named, try_rung
from framelane.video.reader import Reader
from framelane.video.surface import Surface
from support.clip_kinds import make
from support.clips import STREET, WALKER
from support.rungs import pictures, position

pytestmark = pytest.mark.gpu
ON_GPU = ("pyav", "nvcodec", "ffmpeg")
DECODED = ("plain", "full_range", "variable", "cut", "negative", "rotated", "ten_bits")


@pytest.fixture(scope="module", params=ON_GPU)
def rung(request):
    """One that works here; the others' reasons are skipped with."""
    found = probe(request.param)
    if not found.ok:
        pytest.skip(found.reason)
    return rung_named(request.param)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("clips"), "320x240")
    return made | {"walker": probe_clip(WALKER), "street": probe_clip(STREET)}


def test_some_rung_works_on_this_card(clips):
    """NVDEC is on every card since Kepler: where no rung reaches it, the installation is at fault."""
    choice = choose_decoder(clips["walker"], device="cuda")
    assert choice.rung.on_gpu, choice.reason


@pytest.mark.parametrize("kind", [*DECODED, "walker", "street"])
def test_every_frame_is_the_cpus(rung, clips, kind):
    clip = clips[kind]
    tried = try_rung(rung, clip, "cuda")
    if not tried.ok and "of this card does not decode" in tried.reason:
        pytest.skip(tried.reason)
    assert tried.ok, tried.reason
    said: list[str] = []
    theirs, reader = pictures(clip, rung=rung, device="cuda", degrade=said.append)
    assert said == []
    assert theirs == pictures(clip)[0]
    assert reader.decoder.startswith(rung.name)


@pytest.mark.parametrize("kind", [*DECODED, "walker"])
def test_after_a_position_too(rung, clips, kind):
    clip = clips[kind]
    if not try_rung(rung, clip, "cuda").ok:
        pytest.skip("not decoded on this card")
    ours = pictures(clip)[0]
    for index in (0, len(ours) // 2, len(ours) - 3):
        assert pictures(clip, after=position(clip, index), rung=rung, device="cuda")[0] == ours[index + 1 :]


def test_frames_lie_on_the_card_and_own_their_memory(rung, clips):
    """Held while the decoder goes on, and read on another stream."""
    with torch.cuda.stream(torch.cuda.Stream()):
        batches = list(Reader(clips["walker"], rung=rung, device="cuda").batches(8))
    torch.cuda.synchronize()
    frames = [frame for batch in batches for frame in batch.planes]
    assert all(isinstance(frame, Surface) and frame.y.is_cuda for frame in frames)
    assert len({frame.y.data_ptr() for frame in frames}) == len(frames)
    ours = [frame for batch in Reader(clips["walker"]).batches(8) for frame in batch.planes]
    for frame, host in zip(frames, ours, strict=True):
        luma = torch.from_numpy(host.to_ndarray()[: host.height])
        assert torch.equal(frame.y.cpu(), luma)


def test_the_cpus_frames_are_uploaded_and_kept(clips):
    for kind in ("plain", "ten_bits"):
        frames = [f for b in Reader(clips[kind], device="cuda").batches(8) for f in b.planes]
        assert all(isinstance(f, Surface) and f.y.is_cuda and f.host is not None for f in frames)
        for frame in frames:
            host, frame.host = frame.host, None
            from framelane.video.transfer import download

            assert download(frame).to_ndarray().tobytes() == host.to_ndarray().tobytes()


@pytest.mark.parametrize("kind", ["four_two_two", "odd"])
def test_what_nvdec_would_change_goes_to_the_cpu(clips, kind):
    choice = choose_decoder(clips[kind], device="cuda")
    assert choice.name == "cpu"
    assert len(choice.refused) == len(ON_GPU)
