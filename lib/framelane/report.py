"""The report beside every output: what was done, with what, how fast, and what fell short."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def report_path(output: Path) -> Path:
    """``out.mp4`` to ``out.report.json``."""
    return output.with_suffix(".report.json")


def gif_path(output: Path) -> Path:
    """``out.mp4`` to ``out.gif``."""
    return output.with_suffix(".gif")


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as indented JSON.

    Raises:
        OSError: the disk is full or not writable.
    """
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def made_by_us(output: Path) -> bool:
    """Whether the report beside ``output`` says that framelane made a file of that name."""
    try:
        data = json.loads(report_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and Path(str(data.get("output", ""))).name == output.name
