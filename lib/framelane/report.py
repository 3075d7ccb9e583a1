"""The report beside every output: what was done, with what, how fast, and what fell short."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXPORTS = (".coco.json", ".joints.csv", ".objects.csv", ".alerts.csv", ".camera.csv")
"""Every suffix of a table that a processor may write beside its output."""

_LONGEST_NAME = 255  # bytes, on every common file system


def report_path(output: Path) -> Path:
    """``out.mp4`` to ``out.report.json``."""
    return _beside(output, ".report.json")


def gif_path(output: Path) -> Path:
    """``out.mp4`` to ``out.gif``."""
    return _beside(output, ".gif")


def sheet_path(output: Path) -> Path:
    """``out.mp4`` to ``out.worst.jpg``, the contact sheet."""
    return _beside(output, ".worst.jpg")


def export_path(output: Path, suffix: str) -> Path:
    """``out.mp4`` to ``out.coco.json`` and the like; ``suffix`` is one of :data:`EXPORTS`."""
    return _beside(output, suffix)


def beside(output: Path) -> list[Path]:
    """All files that may stand beside an output and belong to it: report, GIF, contact sheet, tables."""
    tables = [export_path(output, suffix) for suffix in EXPORTS]
    return [report_path(output), gif_path(output), sheet_path(output), *tables]


def _beside(output: Path, suffix: str) -> Path:
    """The output's name with another suffix; where that is too long for a file name, its end gives way to a digest."""
    path = output.with_suffix(suffix)
    if len(os.fsencode(path.name)) <= _LONGEST_NAME:
        return path
    digest = hashlib.sha256(os.fsencode(output.name)).hexdigest()[:8]
    kept = os.fsencode(output.stem)[: _LONGEST_NAME - len(suffix) - len(digest) - 1].decode(errors="ignore")
    return output.with_name(f"{kept}~{digest}{suffix}")


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as indented JSON.

    Raises:
        OSError: the disk is full or not writable.
    """
    # A file name that is no UTF-8 arrives as lone surrogates; escaped with a backslash they are sound JSON.
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def made_by_us(output: Path) -> list[Path]:
    """The files of which the report beside ``output`` says that framelane made them: itself, the video, the rest."""
    path = report_path(output)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(data, dict) or Path(str(data.get("output", ""))).name != output.name:
        return []
    pictures = [path for key, path in (("gif", gif_path(output)), ("sheet", sheet_path(output))) if data.get(key)]
    written = data.get("exports")
    tables = [export_path(output, suffix) for suffix in EXPORTS if isinstance(written, dict) and suffix in written]
    return [path, output, *pictures, *tables]
