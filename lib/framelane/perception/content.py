"""The content check: OpenNSFW on the source pictures and on sampled frames, and apparent minors where ages are estimated.

It runs before any work and cannot be turned off. The weights' digest stands in this file and in the catalogue; they are
opened from the very bytes that were checked, and must answer two known pictures rightly before they are believed.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from framelane.errors import FramelaneError, chain
from framelane.models import store
from framelane.models.catalog import get
from framelane.models.kept import kept
from framelane.perception.faces.base import Face, FaceFinder
from framelane.video.clip import Clip, open_container, video_stream
from framelane.video.colour import to_rgb

if TYPE_CHECKING:
    import torch

MODEL = "opennsfw"
SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
ONE_PICTURE = 0.7
"""A single picture with this score or more is refused. Yahoo's own notes take 0.8 as surely unsafe and below 0.2 as surely
safe (open_nsfw, README); faces filling the picture score below 0.05."""
THREE_IN_A_ROW = 0.5
"""So are three samples in a row that reach this score on average."""
ADULT = 21.0
"""Faces whose estimated age is below this are refused. The estimate of the usual packs is off by about four years, so this
also refuses some young adults: that is meant."""

_EVERY_S = 1.0  # between two samples
_MOST = 600  # samples of a clip; a longer clip is sampled more thinly
_KEYFRAMES_FROM_S = 300.0  # longer clips are sampled at keyframes, which costs little
_GAP_S = 20.0  # but not where those are further apart than this
_MEAN = np.array([104, 117, 123], np.float32)  # of BGR, 0 to 255
_SIDE, _CROP = 256, 224
_KNOWN_SIDE = 12
_KNOWN = (
    b"il2*_tg_RgXUnH^*^QFjgKW{8d6JD=ynAk&c6Q8IY`cK0qJe+MhgQ{{f4`b;%b$U{c3jeXZqkZ`;;fmgm1fYBi{YY>?4NSbrhCAN"
    b"YTk@b`F4cJRfENtd(>xTyPI{_p?=GfgU`I8!=uC6oR#CXow}H9!Ix&YVyDj6uhYGF$+mIbepaD|#G`~h$$xY3xb4uQioB;@&!>gB"
    b"kYL@VXtS()w2OGjWP`qwTK~0F&Y`2YZ+`y4vB9No=eCaIo1W0OujtjTxqFHKs;7^GZ|s7$m40o@j)<RnUc!@buXSt7uY<N(dbYcX"
    b">zH!*-lUwLdF!u~!I^HRlyJ|thr)A<oobH%yKJF{VB(cvh<#6|kb$m>bhdCy+f;(chosk;y4q%qoUxIfZ9Cb!hRU#i_N1!s#J};$"
    b"nxuM7#GHi7w0{1!#><X>!kmqqVOztOd!Tn?@4>09c73s#owa&D<eR3(s&nzTn7M;*+O3P$qm2K_(9@uqrK4%rpnj^uTK>0;wql9b"
    b"sf^Zxke^yjy^nIWoNdT}a?!ezqE%<Wk$2Xrdaj8="
)
"""A picture of 12 x 12 coloured squares, found by gradient ascent, that shows nothing and that the model scores 0.99."""

Picture = NDArray[np.uint8]


class Pictured(Protocol):
    """A source face, as far as it is looked at here."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def images(self) -> tuple[Picture, ...]:
        """RGB pictures (H, W, 3)."""

    @property
    def faces(self) -> tuple[Face, ...]:
        """The face in each of them."""


class ContentModel:
    """OpenNSFW on the CPU: the same answer on every machine.

    Args:
        threads: threads of the model; 0 is the number of cores.

    Raises:
        FramelaneError: the weights are missing and cannot be fetched, are damaged, or answer wrongly.
    """

    def __init__(self, threads: int = 0) -> None:
        self.session = _session(sound_weights(), threads)
        self._input = self.session.get_inputs()[0].name
        known = np.frombuffer(base64.b85decode(_KNOWN), np.uint8).reshape(_KNOWN_SIDE, _KNOWN_SIDE, 3)
        unsafe, safe = self.scores([known, np.full_like(known, 235)])
        if not (unsafe > 0.9 and safe < 0.5):
            raise FramelaneError(
                f"The content check does not answer known pictures rightly ({unsafe:.2f} and {safe:.2f}); nothing is "
                "swapped without it. Install onnxruntime again."
            )

    def scores(self, pictures: Sequence[Picture]) -> list[float]:
        """How surely each RGB picture (H, W, 3) is not safe to show, 0 to 1."""
        if not pictures:
            return []
        found = self.session.run(None, {self._input: np.stack([prepared(picture) for picture in pictures])})[0]
        scores = [float(row[1]) for row in found]
        if not all(0 <= score <= 1 for score in scores):  # also false for NaN
            raise FramelaneError("The content check gave no number between 0 and 1; nothing is swapped without it.")
        return scores


def prepared(picture: Picture) -> NDArray[np.float32]:
    """A picture as the network wants it: squeezed to 256 x 256, the middle 224 of it, BGR minus the mean.

    As in open_nsfw's classify_nsfw.py, but for its JPEG round trip. Pillow's bilinear filter is an anti-aliasing one.
    """
    from PIL import Image

    small = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    edge = (_SIDE - _CROP) // 2
    middle = np.asarray(small.crop((edge, edge, edge + _CROP, edge + _CROP)), np.float32)
    return np.ascontiguousarray(middle[:, :, ::-1] - _MEAN)


def sound_weights() -> bytes:
    """The weights, whole and unchanged; fetched where they are missing.

    Raises:
        FramelaneError: they are not to be had, or damaged. No digest that was remembered is trusted.
    """
    why = "Nothing is swapped without the content check"
    try:
        path = store.resolve(MODEL)
        data = path.read_bytes()
    except FramelaneError as error:
        raise FramelaneError(f"{why}: {error}") from error
    except OSError as error:
        raise FramelaneError(f"{why}, and its weights cannot be read ({chain(error)}).") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise FramelaneError(
            f"{why}: its weights at {path} are damaged or were changed (SHA-256 {found}, expected is {SHA256}); run: "
            f"framelane models fetch {MODEL}."
        )
    return data


def _session(weights: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise FramelaneError(f"onnxruntime cannot be imported ({chain(error)}); the content check needs it.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise FramelaneError(f"The content check's model cannot be opened ({chain(error)}).") from error


def opened(threads: int = 0) -> ContentModel:
    """The model; a worker keeps it from job to job, having read its file again for each."""
    return kept("content check", (hashlib.sha256(sound_weights()).hexdigest(), threads), lambda: ContentModel(threads))


def listed() -> dict[str, str]:
    """The model as reports list it."""
    entry = get(MODEL)
    return {"name": entry.name, "sha256": SHA256, "licence": entry.licence}


def check_clip(
    clip: Clip, sources: Sequence[Pictured], *, finder: FaceFinder | None = None, device: str = "cpu", threads: int = 0
) -> dict[str, Any]:
    """Refuse sources and clips that must not be swapped. Call it before any work.

    Args:
        clip: the input, as it lies on the disk.
        sources: the source faces.
        finder: where it tells ages, faces of the sampled frames must look adult, too.
        device: of the finder.
        threads: of the content model.

    Returns:
        For the report: ``model, sha256, pictures, samples, every_s, highest, age`` and, where estimated, ``youngest``.

    Raises:
        FramelaneError: something is refused, and the text names the source or the time; or the check cannot be done.
    """
    model = opened(threads)
    youngest = [_sources(model, sources)]
    samples, highest, last = 0, 0.0, 0.0
    recent: list[float] = []
    for seconds, picture in sampled(clip):
        score = model.scores([picture])[0]
        recent = [*recent[-2:], score]
        samples, highest, last = samples + 1, max(highest, score), seconds
        if score >= ONE_PICTURE or (len(recent) == 3 and sum(recent) / 3 >= THREE_IN_A_ROW):
            raise _refused(f"{clip.path.name} at {clock(seconds)}", score)
        if finder is not None and finder.tells_age:
            youngest.append(
                _adults(finder.find(_tensor(picture).to(device))[0], f"{clip.path.name} at {clock(seconds)}")
            )
    if not samples:
        raise FramelaneError(f"No frame of {clip.path.name} could be looked at; nothing is swapped without that.")
    ages = [age for age in youngest if age is not None]
    return {
        "model": MODEL,
        "sha256": SHA256,
        "pictures": sum(len(source.images) for source in sources),
        "samples": samples,
        "last_sample_s": round(last, 3),
        "highest": round(highest, 4),
        "age": "estimated" if ages else "declared",
        **({"youngest": round(min(ages), 1)} if ages else {}),
    }


def _sources(model: ContentModel, sources: Sequence[Pictured]) -> float | None:
    youngest: list[float] = []
    for source in sources:
        for index, score in enumerate(model.scores(source.images), 1):
            if score >= ONE_PICTURE:
                raise _refused(f"the source {source.name}, picture {index} of {len(source.images)},", score)
        age = _adults(source.faces, f"the source {source.name}")
        youngest += [] if age is None else [age]
    return min(youngest, default=None)


def _adults(faces: Sequence[Face], where: str) -> float | None:
    """The lowest estimated age; None where none was estimated."""
    ages = [face.age for face in faces if face.age is not None]
    young = [age for age in ages if not age >= ADULT]  # NaN is not an adult
    if young:
        raise FramelaneError(
            f"Refused: a face in {where} is estimated at {min(young):.0f} years. Faces that may be a minor's are not "
            f"swapped; the estimate is rough, so everybody who looks younger than {ADULT:.0f} is refused."
        )
    return min(ages, default=None)


def _refused(where: str, score: float) -> FramelaneError:
    return FramelaneError(
        f"Refused: {where} looks like nudity or sexual content (score {score:.2f} of OpenNSFW). Such material is not "
        "swapped, and no setting changes that. If it is a mistake, cut or replace that part."
    )


def sampled(clip: Clip) -> Iterator[tuple[float, Picture]]:
    """Frames of a clip about every second from the first to the last: seconds, and upright RGB (H, W, 3).

    Raises:
        FramelaneError: the clip cannot be opened.
    """
    every = max(_EVERY_S, clip.duration / _MOST)
    sparse = clip.duration > _KEYFRAMES_FROM_S and _keyframes_are_close(clip)
    due, pending, frame = -1.0, None, None
    for frame in _frames(clip, keyframes=sparse):
        seconds = clip.seconds(frame.pts) if frame.pts is not None else 0.0
        pending = (seconds, frame)
        if seconds >= due:
            yield seconds, _upright(frame, clip)
            due, pending = seconds + every, None
    if pending is not None:  # the last one always
        yield pending[0], _upright(pending[1], clip)


def _keyframes_are_close(clip: Clip) -> bool:
    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        times = [clip.seconds(p.pts) for p in container.demux(stream) if p.is_keyframe and p.pts is not None]
    ends = [0.0, *sorted(times), clip.duration]
    return max(b - a for a, b in itertools.pairwise(ends)) <= _GAP_S


def _frames(clip: Clip, *, keyframes: bool) -> Iterator[Any]:
    """Decoded frames; what is damaged is passed over, as the reader does."""
    import av

    with open_container(clip.path) as container:
        stream = video_stream(container, clip.path)
        stream.thread_type = "AUTO"
        if keyframes:
            stream.codec_context.skip_frame = "NONKEY"
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            yield from frames


def _upright(frame: Any, clip: Clip) -> Picture:
    pixels = np.empty((3, frame.height, frame.width), np.uint8)
    to_rgb(frame, clip.colour, pixels)
    turned = pixels[:, :, ::-1] if clip.orientation.mirrored else pixels
    return np.ascontiguousarray(np.rot90(turned.transpose(1, 2, 0), clip.orientation.quarter_turns))


def _tensor(picture: Picture) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def clock(seconds: float) -> str:
    """``75.3`` as ``"1:15.3"``."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    return f"{int(minutes)}:{rest:04.1f}"
