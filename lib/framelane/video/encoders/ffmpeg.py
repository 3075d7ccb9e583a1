"""The rung ``ffmpeg``: one ffmpeg program for each segment, fed raw frames in NUT, which writes the segment's NUT file.

The frames come down to the host once (1.5 bytes a pixel), so this rung frees the cores of encoding, not of copying. With a
software encoder the same class runs anywhere.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from framelane.errors import FramelaneError
from framelane.video.disk import write_error
from framelane.video.encoders.base import Session
from framelane.video.encoders.options import ffmpeg_command
from framelane.video.encoders.pictures import HostPictures
from framelane.video.encoders.refusal import SessionRefused, refusal
from framelane.video.encoders.spec import EncodeSpec
from framelane.video.ffmpeg import Watch, end, program_version
from framelane.video.frames import FrameBatch


class ProgramSession(Session):
    """An ffmpeg program that encodes what it reads from a pipe."""

    rung = "ffmpeg"

    def __init__(self, path: Path, spec: EncodeSpec, explain: bool = False) -> None:
        import av

        super().__init__(path, spec, explain)
        self._pictures, self._sent = HostPictures(spec), 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the session ends)
        try:
            self._process = subprocess.Popen(
                ffmpeg_command(spec, path, program_version(Path(spec.program))),
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SessionRefused(f"The program {spec.program} cannot be started ({error.strerror}).") from error
        except FramelaneError as error:
            raise SessionRefused(str(error)) from error
        self._watch = Watch(self._process)
        self._container: Any = av.open(self._process.stdin, "w", format="nut", buffer_size=1 << 20)
        self._stream: Any = self._container.add_stream("rawvideo", rate=spec.rate)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
        context.time_base = self._stream.time_base = spec.time_base
        if spec.sample_aspect:
            context.sample_aspect_ratio = spec.sample_aspect

    def encode(self, batch: FrameBatch, index: int) -> None:
        """See :meth:`Session.encode`."""
        frame = self._pictures.frame(batch, index)
        frame.pts, frame.time_base = batch.pts[index], self.spec.time_base
        frame.duration, frame.pict_type = batch.durations[index], 0
        try:
            with self._watch.waiting():
                self._container.mux(self._stream.encode(frame))
        except OSError as error:  # FFmpeg's own errors too; the program has ended: it said why
            raise self._failure(error) from error
        self._sent += 1

    def finish(self) -> list[int]:
        """See :meth:`Session.finish`."""
        import av

        try:
            with self._watch.waiting():
                self._container.mux(self._stream.encode(None))
                self._container.close()
                self._process.stdin.close()  # type: ignore[union-attr]
                self._process.wait()
        except OSError as error:
            raise self._failure(error) from error
        if self._process.returncode:
            raise self._failure(None)
        self._watch.stop()
        self._said.close()
        try:
            with av.open(f"file:{self.path}") as made:
                coded = [packet.pts for packet in made.demux(video=0) if packet.size]
        except (av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error) from error
        if len(coded) != self._sent:
            raise FramelaneError(f"The ffmpeg program was given {self._sent} frames and coded {len(coded)}.")
        return coded

    def _failure(self, error: BaseException | None) -> FramelaneError:
        """What the program said before it ended; a refusal where it had written nothing."""
        with contextlib.suppress(Exception), self._watch.waiting():
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait()
        lines = self._lines()
        self.abandon()
        if self._watch.hung:
            return FramelaneError(f"The program {self.spec.program} encodes no further: {self._watch.hung}.")
        if any("No space left" in line for line in lines):
            return write_error(self.path, OSError(28, "No space left on device"))
        wrote = self.path.exists() and self.path.stat().st_size > 0
        said = refusal(lines, error, self.spec)
        return FramelaneError(f"The ffmpeg program ended in the middle of {self.path}: {said}") if wrote else said

    def _lines(self) -> list[str]:
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace").splitlines()

    def abandon(self) -> None:
        """See :meth:`Session.abandon`."""
        self._watch.stop()
        end(self._process)
        with contextlib.suppress(Exception):
            self._container.close()
        with contextlib.suppress(Exception):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._said.close()
