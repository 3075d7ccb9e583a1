"""The doctor's report as a box for the terminal; readable at 80 columns."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich import box as boxes
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from framelane.profiles import features

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
_LABEL = 19


def box(report: dict[str, Any]) -> RenderableType:
    """The whole report, boxed: what the machine is, then every finding, what is worst last, where the eye is.

    Args:
        report: from ``doctor.examine``.
    """
    parts: list[RenderableType] = [
        _facts("System", _system(report)),
        _facts("GPU", _gpu(report["hardware"])),
        _facts("Versions", _versions(report["versions"])),
        _models(report["models"]),
        _facts("Profile", [(report["profile"]["name"], report["profile"]["why"])]),
        _findings(report["findings"]),
        _count(report["findings"]),
    ]
    return Panel(Group(*parts), title="framelane doctor", box=boxes.ROUNDED, padding=(0, 1))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=boxes.SIMPLE_HEAD, expand=True)
    table.show_header = bool(columns)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _facts(title: str, rows: list[tuple[str, str]]) -> Table:
    table = _table(title)
    table.add_column(style="cyan", no_wrap=True, width=_LABEL)
    table.add_column(overflow="fold", ratio=1)
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    return table


def _system(report: dict[str, Any]) -> list[tuple[str, str]]:
    hardware = report["hardware"]
    return [
        ("CPU", f"{hardware['cpu']}, {hardware['cores']} logical cores, {hardware['cores_usable']} usable"),
        ("Memory bandwidth", f"{report['memory_bandwidth_gbs']} GB/s, one thread copying"),
        ("Disk", f"{_gb(hardware['disk_free'])} free at {hardware['disk_path']}"),
    ]


def _gpu(hardware: dict[str, Any]) -> list[tuple[str, str]]:
    gpu = hardware["gpu"]
    if gpu is None:
        return [("GPU", f"none: {hardware['gpu_reason']}")]
    many = f" (one of {gpu['count']})" if gpu["count"] > 1 else ""
    major, minor = gpu["compute_capability"]
    return [
        ("GPU", f"{gpu['name']}{many}, compute capability {major}.{minor}"),
        ("Precision", _precision((major, minor))),
        ("VRAM", f"{_gb(gpu['vram_free'])} free of {_gb(gpu['vram_total'])}"),
        ("Driver", f"{gpu['driver']}, CUDA up to {gpu['cuda']}"),
    ]


def _precision(capability: tuple[int, int]) -> str:
    can = features(capability)
    has = {"FP16 tensor cores": can.fp16, "bf16": can.bf16, "TF32": can.tf32, "FlashAttention 2": can.flash_attention}
    yes, no = [name for name, there in has.items() if there], [name for name, there in has.items() if not there]
    return "; ".join([f"FP32{''.join(f', {name}' for name in yes)}", *([f"not {', '.join(no)}"] if no else [])])


def _versions(found: dict[str, Any]) -> list[tuple[str, str]]:
    there = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    return [
        ("Python", f"{found['python']} on {found['system']}"),
        ("packages", there),
        ("FFmpeg in av", ", ".join(f"{name} {number}" for name, number in found["ffmpeg"].items())),
        ("ffmpeg command", found["ffmpeg_command"] or "absent"),
        ("ONNX Runtime", f"providers: {', '.join(found['providers']) or 'none'}"),
    ]


def _models(models: dict[str, Any]) -> RenderableType:
    if models["error"]:
        return _facts("Models", [("catalogue", models["error"])])
    by_state: dict[str, list[str]] = {}
    for row in models["rows"]:
        by_state.setdefault(row["state"], []).append(row["name"])
    return _facts("Models", [(state, ", ".join(names)) for state, names in by_state.items()])


def _findings(found: list[dict[str, Any]]) -> RenderableType:
    table = _table("Findings")
    table.add_column(no_wrap=True, width=7)
    table.add_column(style="cyan", overflow="fold", width=_LABEL)
    table.add_column(overflow="fold", ratio=1)
    for finding in found:
        text = Text(finding["evidence"])
        if finding["fix"]:
            text.append(f"\n-> {finding['fix']}", style="bold")
        table.add_row(Text(finding["status"], style=_STYLES[finding["status"]]), escape(finding["name"]), text)
    return table


def _count(found: list[dict[str, Any]]) -> Text:
    counted = Counter(finding["status"] for finding in found)
    bad = [
        f"{counted[status]} {status}{'s' if counted[status] > 1 else ''}"
        for status in ("error", "warning")
        if counted[status]
    ]
    if not bad:
        return Text(f"{len(found)} checks: nothing is wrong.", style="green")
    return Text(f"{len(found)} checks: {', '.join(bad)}.", style=_STYLES["error" if counted["error"] else "warning"])


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
