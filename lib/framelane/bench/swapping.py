"""The same faces swapped four ways: by insightface's loop, by ours, by PNG files as roop does it, and by a whole job."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from framelane.bench.processors import PICTURES
from framelane.errors import FramelaneError
from framelane.perception.faces.base import Face
from framelane.perception.faces.crops import ARCFACE
from framelane.processors.faceswap.swapper import Patch, Source, Wish

if TYPE_CHECKING:
    from framelane.processors.faceswap.inswapper import InSwapper

FACE_PX = 290
"""Side of a swapped crop in a frame of 1080 lines: a head of about 200 pixels."""
Run = dict[str, float]
"""``seconds`` on the clock and ``network`` seconds of them; ``images`` and ``image_mb`` that lay on the disk."""


class Timed:
    """An onnxruntime session that adds up the seconds of its runs."""

    def __init__(self, session: Any) -> None:
        self.session, self.seconds = session, 0.0

    def run(self, *arguments: Any) -> Any:
        """As the session's own."""
        started = time.perf_counter()
        try:
            return self.session.run(*arguments)
        finally:
            self.seconds += time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def source() -> Source:
    """Nobody: a random embedding."""
    embedding = np.random.default_rng(0).normal(size=512).astype(np.float32)
    return Source("nobody", (), (), embedding / np.linalg.norm(embedding))


def faces(count: int, index: int, size: tuple[int, int] = (1920, 1080)) -> list[Face]:
    """Faces side by side in two rows, each leaning another way and moving a little from frame to frame.

    Args:
        count: how many; at most 6.
        index: of the frame.
        size: width and height of it.
    """
    found = []
    scale = FACE_PX / 128 * size[1] / 1080
    for place in range(count):
        angle = np.deg2rad(-20 + 8 * place + 0.5 * index)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([size[0] * (1 + place % 3) / 4 + index, size[1] * (0.3 + 0.4 * (place // 3))])
        points = ((ARCFACE - ARCFACE.mean(0)) @ turn.T + centre).astype(np.float32)
        box = np.concatenate([centre - 45 * scale, centre + 45 * scale]).astype(np.float32)
        found.append(Face(box, 0.9, points))
    return found


@dataclass
class Contest:
    """Everything that is measured for one number of faces.

    Attributes:
        clip: an H.264 clip of as many frames as a whole run takes.
        pictures: decoded frames, (n, H, W, 3) uint8 RGB.
        count: faces a frame.
        theirs: insightface's ``INSwapper``; its session is a :class:`Timed`.
        ours: on the same file; its session is a :class:`Timed`.
        folder: an empty folder.
        threads: of decoders and encoders.
    """

    clip: Path
    pictures: NDArray[np.uint8]
    count: int
    theirs: Any
    ours: InSwapper
    folder: Path
    threads: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pictures.shape[2], self.pictures.shape[1]

    def wishes(self, index: int) -> list[Wish]:
        """Of a frame; ``Wish.frame`` is 0."""
        return [Wish(0, face, source()) for face in faces(self.count, index, self.size)]

    def insightface_loop(self) -> Run:
        """Each face of each frame by ``INSwapper.get``, as roop and others call it."""
        frames = [np.ascontiguousarray(picture[..., ::-1]) for picture in self.pictures]
        return self._timed(self.theirs.session, lambda: [self._get(f, i) for i, f in enumerate(frames)])

    def our_batches(self, batch: int = 4) -> Run:
        """All faces of a frame batch at once, pasted on the frames' regions."""
        import torch

        from framelane.processors.faceswap import align

        frames = torch.from_numpy(np.ascontiguousarray(np.moveaxis(self.pictures, 3, 1)))

        def work() -> None:
            for start in range(0, len(frames), batch):
                part = frames[start : start + batch]
                wishes = [Wish(i, w.face, w.source) for i in range(len(part)) for w in self.wishes(start + i)]
                answers = self.ours.swap(part, wishes)
                done = [(w.frame, a) for w, a in zip(wishes, answers, strict=True) if isinstance(a, Patch)]
                align.paste(part, [frame for frame, _ in done], [patch for _, patch in done])

        return self._timed(self.ours.network.session, work)

    def png_files(self) -> Run:
        """The way of roop 1.3: all frames to PNG files, each read, swapped and written again, all files to a clip."""
        import cv2

        folder = self.folder / "png"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pattern, output = str(folder / "%04d.png"), str(self.folder / "png.mp4")
        encode = ["-c:v", "libx264", "-preset", "medium", "-crf", "20", "-pix_fmt", "yuv420p"]

        def work() -> None:
            self._ffmpeg("-i", str(self.clip), "-pix_fmt", "rgb24", "-fps_mode", "passthrough", pattern)
            for index, path in enumerate(sorted(folder.glob("*.png"))):
                cv2.imwrite(str(path), self._get(cv2.imread(str(path)), index))
            self._ffmpeg("-framerate", "30", "-i", pattern, *encode, "-threads", str(self.threads), output)

        found = self._timed(self.theirs.session, work)
        files = [path for path in folder.rglob("*") if path.suffix in PICTURES]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        return {**found, "images": len(files), "image_mb": round(megabytes, 1)}

    def job(self) -> Run:
        """A job of framelane: probing, segments, checkpoints, joining, verifying, and the same swap."""
        from framelane.bench.processors import Swap
        from framelane.run import process_video

        Swap.swapper, Swap.places, Swap.folder, Swap.images = self.ours, self.wishes, self.folder / "job", 0
        shutil.rmtree(Swap.folder, ignore_errors=True)
        Swap.folder.mkdir()
        overrides = {"gif.enabled": False, "output.overwrite": True, "hardware.threads": self.threads}

        def work() -> None:
            process_video(self.clip, "bench_swap", output=Swap.folder / "out.mp4", profile="cpu", overrides=overrides)

        return {**self._timed(self.ours.network.session, work), "images": Swap.images, "image_mb": 0.0}

    def _get(self, frame: Any, index: int) -> Any:
        giver = SimpleNamespace(normed_embedding=source().embedding)
        for face in faces(self.count, index, self.size):
            frame = self.theirs.get(frame, SimpleNamespace(kps=face.points), giver, paste_back=True)
        return frame

    def _ffmpeg(self, *arguments: str) -> None:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-threads", str(self.threads), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FramelaneError(
                f"The ffmpeg command failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )

    @staticmethod
    def _timed(session: Timed, work: Callable[[], Any]) -> Run:
        session.seconds = 0.0
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            work()
        return {"seconds": time.perf_counter() - started, "network": session.seconds}
