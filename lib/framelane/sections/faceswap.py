"""The settings of the ``faceswap`` processor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from framelane.sections.base import Section


class FacePair(Section):
    """One source and the face that it replaces."""

    source: str = Field(min_length=1, description="an image, or a folder of images that are averaged")
    target: str = Field(min_length=1, description="an image of the face to replace, or SECONDS#INDEX as in 12.5#0")


class FaceswapSettings(Section):
    """Whose face ``faceswap`` puts where, and how."""

    source: str | None = Field(None, description="the source face: an image, or a folder of images that are averaged")
    consent: str | None = Field(
        None,
        description="who agreed to the use of the source face, and on what ground; with it you declare that the person is "
        "an adult. Nothing is swapped without it",
    )
    select: Literal["many", "largest", "reference"] = Field(
        "many",
        description="which faces are replaced: all, the largest of each frame, or the one like faceswap.reference",
    )
    reference: str | None = Field(
        None,
        description="the face to replace: an image of it, or SECONDS#INDEX, the INDEX-th face from the left at that second "
        "of the clip, as in 12.5#0",
    )
    similar_face_distance: float = Field(
        0.85,
        gt=0,
        le=4,
        description="largest squared distance of two unit embeddings that are the same person's (reference, pairs)",
    )
    pairs: list[FacePair] = Field(
        default_factory=list, description="several sources at once, each with its target; instead of source and select"
    )
    finder: Literal["centerface", "insightface"] = Field(
        "centerface",
        description="what finds faces; insightface (weights for non-commercial research) also tells who they are",
    )
    swapper: Literal["warp", "inswapper"] = Field(
        "warp", description="warp: geometric, embedded; inswapper: InSwapper-128 (weights for non-commercial research)"
    )
    restore: Literal["none", "gfpgan"] = Field("none", description="what restores the detail of swapped faces")
    restore_strength: float = Field(0.8, ge=0, le=1, description="share of the restored face in the result")
    restore_version: Literal["1.3", "1.4"] = Field("1.4", description="of GFPGAN's weights")
    restore_min_px: int = Field(96, ge=16, le=1024, description="faces smaller than this are not restored")
    blend: float = Field(1.0, ge=0, le=1, description="share of the swapped face in the result")
    keep_mouth: bool = Field(False, description="keep the mouth of the clip, with what is in front of it")
    min_face_px: int = Field(32, ge=16, le=1024, description="faces smaller than this are left alone")
    detect_every: int = Field(
        1, ge=1, le=10, description="find faces on every N-th frame; those between are interpolated"
    )
    detection_threshold: float = Field(0.5, ge=0.05, le=0.95, description="lowest score of a face")
    label: str = Field(
        "AI-generated face",
        min_length=3,
        max_length=60,
        description="the visible label; whatever it says, it begins with AI-generated",
    )
    label_corner: Literal["top-left", "top-right", "bottom-left", "bottom-right"] = Field(
        "bottom-right", description="where the visible label stands"
    )
    label_size: float = Field(
        0.035, ge=0.02, le=0.2, description="height of the label's letters, share of the picture's height"
    )
    certificate: str | None = Field(
        None, description="PEM chain that signs the content credentials; null is a local test certificate"
    )
    private_key: str | None = Field(None, description="PEM key of the certificate")
