"""The doctor's report as a box of tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box as boxes
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from framelane.profiles import features

_LEVELS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def box(report: dict[str, Any]) -> RenderableType:
    """The whole report, boxed.

    Args:
        report: from ``hardware.doctor_report``.
    """
    parts: list[RenderableType] = [
        _facts("System", _system(report)),
        _facts("GPU", _gpu(report["hardware"])),
        _codecs(report),
        _facts("Versions", _versions(report["versions"])),
        _models(report["models"]),
        _facts("Profile", [(report["profile"]["name"], report["profile"]["why"])]),
        _findings(report["findings"]),
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
    table.add_column(style="cyan", no_wrap=True, width=18)
    table.add_column(overflow="fold", ratio=1)
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    return table


def _system(report: dict[str, Any]) -> list[tuple[str, str]]:
    hardware = report["hardware"]
    limit = ", the container's limit" if hardware["ram_limited"] else ""
    return [
        ("CPU", f"{hardware['cpu']}, {hardware['cores']} logical cores, {hardware['cores_usable']} usable"),
        ("RAM", f"{_gb(hardware['ram_available'])} free of {_gb(hardware['ram_total'])}{limit}"),
        ("Swap", _gb(hardware["swap_total"]) if hardware["swap_total"] else "none"),
        ("Memory bandwidth", f"{report['memory_bandwidth_gbs']} GB/s, one thread copying"),
        ("Disk", f"{_gb(hardware['disk_free'])} free at {hardware['disk_path']}"),
    ]


def _gpu(hardware: dict[str, Any]) -> list[tuple[str, str]]:
    gpu, torch = hardware["gpu"], ("PyTorch", hardware["torch_reason"])
    if gpu is None:
        return [("GPU", f"none: {hardware['gpu_reason']}"), torch]
    many = f" (one of {gpu['count']})" if gpu["count"] > 1 else ""
    major, minor = gpu["compute_capability"]
    return [
        ("GPU", f"{gpu['name']}{many}, compute capability {major}.{minor}"),
        ("Precision", _precision((major, minor))),
        ("VRAM", f"{_gb(gpu['vram_free'])} free of {_gb(gpu['vram_total'])}"),
        ("CUDA", f"up to {gpu['cuda']}"),
        ("Driver", gpu["driver"]),
        torch,
    ]


def _precision(capability: tuple[int, int]) -> str:
    can = features(capability)
    has = {"FP16 tensor cores": can.fp16, "bf16": can.bf16, "TF32": can.tf32, "FlashAttention 2": can.flash_attention}
    yes, no = [name for name, there in has.items() if there], [name for name, there in has.items() if not there]
    return "; ".join([f"FP32{''.join(f', {name}' for name in yes)}", *([f"not {', '.join(no)}"] if no else [])])


def _codecs(report: dict[str, Any]) -> Table:
    speeds = report.get("encode_fps")
    table = _table("Codecs, by encoding and decoding a few frames", "", "works", *(["fps"] if speeds else []), "why")
    for codec in report["codecs"]:
        works = Text("yes", style="green") if codec["ok"] else Text("no", style="yellow")
        speed = [str(speeds.get(codec["name"], ""))] if speeds else []
        table.add_row(f"{codec['kind']} {codec['name']}", works, *speed, escape(codec["reason"]))
    return table


def _versions(found: dict[str, Any]) -> list[tuple[str, str]]:
    providers = ", ".join(found["providers"]) or "none"
    kinds = [name for name in ("onnxruntime", "onnxruntime-gpu") if found[name]]
    plain = ("python", "framelane", "torch", "torchvision", "transformers", "numpy", "av")
    return [
        *((name, found[name] or "not installed") for name in plain),
        ("FFmpeg in av", ", ".join(f"{name} {number}" for name, number in found["ffmpeg"].items())),
        ("ffmpeg command", "present" if found["ffmpeg_command"] else "absent"),
        (
            "ONNX Runtime",
            f"{', '.join(f'{name} {found[name]}' for name in kinds) or 'not installed'}; providers: {providers}",
        ),
    ]


def _models(models: dict[str, Any]) -> RenderableType:
    if models["error"]:
        return _facts("Models", [("catalogue", models["error"])])
    table = _table("Models", "model", "task", "state", "MB", "licence")
    for row in models["rows"]:
        style = "green" if row["state"] == "present" else "yellow"
        size = "" if row["megabytes"] is None else f"{row['megabytes']:.1f}"
        table.add_row(row["name"], row["task"], Text(row["state"], style=style), size, row["licence"])
    return table


def _findings(found: list[dict[str, str]]) -> RenderableType:
    if not found:
        return Text("Nothing is wrong.", style="green")
    table = _table("Findings", "", "what", "what to do")
    for finding in found:
        table.add_row(
            Text(finding["level"], style=_LEVELS[finding["level"]]), escape(finding["what"]), escape(finding["do"])
        )
    return table


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
