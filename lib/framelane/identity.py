"""What a job's frames depend on, and whether unfinished work may be gone on with.

Two answers, for two questions. :func:`result_settings` is what the user asked for, the same under every profile: by it a
batch knows a finished job on any machine. :func:`frames_settings` is what the frames were in fact made with: by it a job
knows whether its finished segments and the next ones belong together. Where the first is the same and the second is not,
only the profile differs, and :func:`go_on_as_begun` takes the settings with which the work was begun.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from framelane import settings as settings_module
from framelane.errors import UsageError
from framelane.processors.base import Processor
from framelane.settings import Loaded
from framelane.video.clip import Clip, fingerprint

BEGUN = "profile of the machine that began the clip"
"""The origin of a setting that unfinished work brought; like any profile's, it is not the user's own."""

# Of the hardware only what the result depends on by its nature, and only as the user set it.
_ASKED_OF_HARDWARE = {"hardware.working_height", "hardware.mixed_precision"}

_NO_RESULT = {
    "engine.queue_batches", "engine.min_free_mb", "engine.preview_s", "output.require_gpu", "output.overwrite",
    "faceswap.private_key",
}  # fmt: skip

# What is said of a result and what signs it belongs to the result, but not to its frames.
_SAID = {"faceswap.certificate", "faceswap.consent"}
_FILES = ("faceswap.source", "faceswap.reference", "faceswap.certificate")

NOT_IN_FRAMES = _NO_RESULT | _SAID | {
    "hardware.device", "hardware.batch_size", "hardware.gpu_memory_limit", "hardware.gpu_memory_gb",
    "hardware.empty_cache_every", "hardware.threads", "hardware.cpu_affinity", "hardware.ram_limit",
    "hardware.prefer_gpu", "hardware.decoder", "hardware.encoder",
}  # fmt: skip
"""What frames do not depend on: changing it throws no finished segments away. A device changes them by rounding only. The
encoder that was chosen is remembered by its own name."""


def result_settings(processor: str, loaded: Loaded) -> dict[str, Any]:
    """The settings that a job's result depends on, by dotted key, without what the profile did to them.

    Args:
        processor: its name.
        loaded: the merged settings. What a profile chose or limited, or what this machine was tuned to, counts with the
            value that it would have without either, so that what is begun on one machine is gone on with on another.
    """
    sections = {"engine", "output", "gif", processor}
    without = settings_module.flatten(settings_module.of_mode(loaded.settings.mode).model_dump())
    flat = settings_module.flatten(loaded.settings.model_dump())
    return with_contents(
        {
            key: without[key] if loaded.is_hardwares(key) else value
            for key, value in flat.items()
            if key in _ASKED_OF_HARDWARE or (key.split(".")[0] in sections and key not in _NO_RESULT)
        }
    )


def frames_settings(processor: str, loaded: Loaded) -> dict[str, Any]:
    """The settings that the frames depend on, by dotted key, as they are."""
    sections = {"engine", "output", "hardware", processor}
    flat = settings_module.flatten(loaded.settings.model_dump())
    return with_contents(
        {key: value for key, value in flat.items() if key.split(".")[0] in sections and key not in NOT_IN_FRAMES}
    )


def clip_and_processor(clip: Clip, processor: Processor) -> dict[str, Any]:
    """Which clip, and which version of the processor; with other ones, no setting makes unfinished work fit."""
    version = f"{processor.name} {processor.version}"
    return {"clip": fingerprint(clip.path), "processor version": version}


def frames_depend_on(clip: Clip, processor: Processor, loaded: Loaded) -> dict[str, Any]:
    """What the frames depend on, as far as it is known before anything is opened."""
    return {**clip_and_processor(clip, processor), **frames_settings(processor.name, loaded)}


def encoded_with(encoder: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of frames less those that the encoder does not read: they throw no finished segments away either.

    Args:
        encoder: its name, as in ``libx264`` or ``h264_nvenc (pyav)``.
        flat: settings by dotted key.
    """
    unread = {"output.preset" if "_nvenc" in encoder else "output.nvenc_preset"}
    if flat.get("output.bitrate_mbps"):
        unread.add("output.quality")
    return {key: value for key, value in flat.items() if key not in unread}


def with_contents(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings where a file that frames are made of counts with what is in it, and not with where it lies.

    A picture that is replaced under its name makes another result; one that is moved makes the same.
    """
    found: dict[str, Any] = {
        key: content_of(value) if key in _FILES and value else value for key, value in flat.items()
    }
    if (model := str(found.get("depth.model", ""))).lower().endswith(".onnx") or "/" in model:  # else it is a name
        found["depth.model"] = content_of(found["depth.model"])
    if pairs := found.get("faceswap.pairs"):
        found["faceswap.pairs"] = [{key: content_of(text) for key, text in pair.items()} for pair in pairs]
    return found


def content_of(text: str) -> str:
    """``sha256:`` and the digest of a file, or of a folder's files and the names that order them; else the text itself.

    A file that is not there, or cannot be read, is found out where it is opened, with a sentence.
    """
    path = Path(text)
    try:
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.is_file())
            return "sha256:" + digest([[each.name, _digest_of(each)] for each in files])
        return f"sha256:{_digest_of(path)}" if path.is_file() else text
    except OSError:
        return text


def _digest_of(path: Path) -> str:
    seen = path.stat()
    return _read_digest(str(path.resolve()), (seen.st_size, seen.st_mtime_ns))


@lru_cache(maxsize=4096)
def _read_digest(path: str, _changed: tuple[int, int]) -> str:
    """SHA-256 of a file; a batch asks for the same one for every clip, so it is read again only once it has changed."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def asked_for(processor: str, loaded: Loaded) -> str:
    """A digest of what the user asked for, 64 hex digits; see :func:`result_settings`."""
    return digest(result_settings(processor, loaded))


def digest(data: object) -> str:
    """SHA-256 of plain data, in hex digits; the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def go_on_as_begun(begun: Mapping[str, Any], processor: str, loaded: Loaded) -> tuple[Loaded, str]:
    """Settings for going on with unfinished work that was begun under another profile.

    Args:
        begun: the ``job.json`` of the unfinished work.
        processor: its name.
        loaded: what this machine would take.

    Returns:
        The settings with which the work was begun, and the differences in words; ``loaded`` itself and ``""`` where there
        is none, or where the user asks for something else.
    """
    if begun.get("asked for") != asked_for(processor, loaded):
        return loaded, ""
    mine = json.loads(json.dumps(frames_settings(processor, loaded)))
    theirs = {key: begun[key] for key, value in mine.items() if key in begun and begun[key] != value}
    if not theirs:
        return loaded, ""
    try:
        taken = settings_module.replaced(loaded, theirs, BEGUN)
    except UsageError:  # of another release
        return loaded, ""
    return taken, ", ".join(f"{key}={value}" for key, value in sorted(theirs.items()))
