"""What a disk that does not take what is written is to people: a sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from framelane.errors import FramelaneError, chain


def is_full(error: BaseException) -> bool:
    """Whether an error, FFmpeg's too, says that a disk or somebody's share of it is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def write_error(path: Path, error: BaseException, action: str = "written") -> FramelaneError:
    """The sentence for an error of writing to ``path``."""
    if is_full(error):
        where = next((folder for folder in path.parents if folder.is_dir()), Path("/"))
        return FramelaneError(
            f"The disk is full: {path} could not be {action}; {shutil.disk_usage(where).free / 1e6:.1f} MB are free in "
            f"{where}. Free some space and run the same command again; finished segments are kept."
        )
    return FramelaneError(f"{path} could not be {action} ({chain(error)}).")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk, met by whatever is done inside, becomes the sentence of :func:`write_error`; other errors pass.

    Args:
        path: what is written, where the error names no file itself.

    Raises:
        FramelaneError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        named = getattr(error, "filename", None)
        # FFmpeg's errors name files as "file:..." or not at all.
        raise write_error(Path(named) if isinstance(named, str) and os.path.isabs(named) else path, error) from error
