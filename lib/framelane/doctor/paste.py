"""The report as a block to paste into a bug report: fenced, of a fixed width, with names and places taken out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from framelane.doctor.redact import Secrets, redact

WIDTH = 78
_LABEL = 26


def block(report: Mapping[str, Any], secrets: Secrets) -> str:
    """The report as Markdown, no line wider than :data:`WIDTH`.

    Fixes are left out: who reads it knows them.

    Args:
        report: from :func:`framelane.doctor.examine`.
        secrets: what to take out.
    """
    lines = [line for label, text in _rows(report) for line in _wrapped(label, redact(text, secrets))]
    return "\n".join(["```text", *lines, "```"])


def _wrapped(label: str, text: str) -> list[str]:
    """Redacted before it is wrapped: a name broken over two lines would not be found."""
    pieces = textwrap.wrap(text, WIDTH - _LABEL - 1, break_on_hyphens=False) or [""]
    return [f"{label if not i else '':<{_LABEL}} {piece}".rstrip() for i, piece in enumerate(pieces)]


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(label of ours, text that may hold anything)."""
    found, hardware = report["versions"], report["hardware"]
    yield "framelane doctor", f"{found['framelane']}{' --deep' if report['deep'] else ''}, {report['date']}"
    yield "system", f"{found['system']}, Python {found['python']}"
    yield "cpu", f"{hardware['cpu']}, {hardware['cores_usable']} of {hardware['cores']} logical cores"
    yield "ram", f"{hardware['ram_available'] / 1e9:.1f} of {hardware['ram_total'] / 1e9:.1f} GB free"
    gpu = hardware["gpu"]
    yield "gpu", _gpu(gpu) if gpu else f"none: {hardware['gpu_reason']}"
    yield "profile", report["profile"]["name"]
    packages = ((name, version) for name, version in found["packages"].items() if version)
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages)
    yield "ffmpeg in av", ", ".join(f"{name} {number}" for name, number in found["ffmpeg"].items())
    for finding in report["findings"]:
        mark = {"ok": "ok", "note": "note", "warning": "WARN", "error": "ERROR"}[finding["status"]]
        yield f"{mark:<5} {finding['name']}"[:_LABEL], finding["evidence"]


def _gpu(gpu: Mapping[str, Any]) -> str:
    major, minor = gpu["compute_capability"]
    free, total = gpu["vram_free"] / 1e9, gpu["vram_total"] / 1e9
    return f"{gpu['name']} ({major}.{minor}), {free:.1f} of {total:.1f} GB free, driver {gpu['driver']}, CUDA {gpu['cuda']}"
