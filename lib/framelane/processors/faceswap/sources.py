"""Source faces from an image, or from a folder of images of one person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framelane.errors import UsageError, chain
from framelane.perception.faces.base import Face, FaceFinder
from framelane.perception.faces.topology import head_pose
from framelane.processors.faceswap.swapper import Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_LONGEST = 2048  # pixels; a larger picture is shrunk, no face of a clip needs more
_MOST_PIXELS = 200_000_000
_SMALLEST = 48  # pixels of a face that is worth anything as a source


def image_files(path: str | Path) -> list[Path]:
    """The images that a source is made of: the file itself, or those of the folder in order of their names.

    Raises:
        UsageError: there is no such file or folder, or the folder has no image.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"There is no source image and no folder at {path}; name one with faceswap.source.")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    if not found:
        raise UsageError(f"The source folder {path} has no image ({', '.join(SUFFIXES)}).")
    return [file for file in found if file.is_file()]


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image as it is displayed.

    Returns:
        (H, W, 3) uint8 RGB, turned as its EXIF says, at most 2048 pixels long.

    Raises:
        UsageError: it cannot be read, or is too large to be opened safely.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise UsageError(
                    f"The image {path} has {opened.width}x{opened.height} pixels, which is too much; give a smaller one."
                )
            upright = ImageOps.exif_transpose(opened)
            if upright.mode in ("RGBA", "LA", "PA", "P"):
                flat = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", flat.size, (128, 128, 128, 255)), flat)
            picture = upright.convert("RGB")
            picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
            return np.array(picture)
    except UsageError:
        raise
    except Exception as error:  # Pillow raises whatever its decoders raise.
        raise UsageError(f"The source image {path} cannot be read ({chain(error)}).") from error


def load_source(path: str | Path, finder: FaceFinder) -> Source:
    """A source face from an image, or averaged over the images of a folder; each must show exactly one face.

    Args:
        path: of an image or a folder.
        finder: finds the face, and where it can tells who it is.

    Returns:
        The source, its largest and most frontal image first.

    Raises:
        UsageError: nothing is there, an image cannot be read, it shows no face, several, or one that is too small.
    """
    import torch

    found: list[tuple[NDArray[np.uint8], Face]] = []
    for file in image_files(path):
        image = read_image(file)
        faces = finder.find(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
        found.append((image, _only(file, faces)))
    found.sort(key=lambda pair: -_worth(pair[1]))
    embeddings = [face.embedding for _, face in found if face.embedding is not None]
    return Source(
        name=Path(path).name,
        images=tuple(image for image, _ in found),
        faces=tuple(face for _, face in found),
        embedding=_mean(embeddings) if len(embeddings) == len(found) else None,
    )


def _only(file: Path, faces: Sequence[Face]) -> Face:
    # A face in the background, a fifth of the size of the one that is meant, is no second candidate.
    meant = [face for face in faces if face.size > 0.2 * faces[0].size]
    if not meant:
        raise UsageError(
            f"No face was found in the source image {file}; give one that shows the face from the front, or lower "
            "faceswap.detection_threshold."
        )
    if len(meant) > 1:
        raise UsageError(
            f"The source image {file} shows {len(meant)} faces, so it is not clear which is meant; cut it to one face."
        )
    if meant[0].size < _SMALLEST:
        raise UsageError(
            f"The face in the source image {file} is only {meant[0].size:.0f} pixels large; it needs at least {_SMALLEST}."
        )
    return meant[0]


def _worth(face: Face) -> float:
    """How good a face is as the one to look at: its size, less where it is turned."""
    if face.mesh is None:
        return face.size
    yaw, pitch, _ = head_pose(face.mesh)
    turned = np.cos(np.radians(yaw)) * np.cos(np.radians(pitch))
    return face.size * float(max(turned, 0.0)) ** 2


def _mean(embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    total = np.sum(embeddings, axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
