"""``framelane doctor``: what works on this machine, found by doing, with the evidence and what to do about the rest."""

from __future__ import annotations

import datetime
import importlib
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framelane.doctor.child import in_child
from framelane.doctor.finding import Finding
from framelane.errors import UsageError, chain
from framelane.machine import choose_profile, detect, memory_bandwidth_gbs
from framelane.schema import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SUBJECTS", "Finding", "examine", "paste_block", "render", "schema"]

SUBJECTS = ("packages", "codecs", "attention", "kernels", "onnx", "storage", "heat", "space", "models")
_PACKAGES = (
    "framelane", "torch", "torchvision", "onnxruntime", "onnxruntime-gpu", "av", "PyNvVideoCodec", "numpy",
    "opencv-python", "transformers", "nvidia-ml-py",
)  # fmt: skip
_DRIVER = "Restart the machine or the runtime; if it happens again, install the driver again."
# Seconds after which a probe is ended. Importing torch and transformers from a cold disk alone can take 60 s.
_LIMIT = {"packages": 120, "codecs": 180, "attention": 180, "kernels": 120, "onnx": 120, "storage": 90, "heat": 30}

_TOGETHER = ("packages", "kernels", "attention", "heat")
_RUNGS = ("cpu", "pyav", "nvcodec", "ffmpeg")

Report = dict[str, Any]


def examine(
    *,
    deep: bool = False,
    path: Path | str = ".",
    drives: Sequence[str] = (),
    only: Iterable[str] = SUBJECTS,
    deep_seconds: float = 60.0,
) -> Report:
    """Look at everything.

    Args:
        deep: also measure for about a minute.
        path: where output will be written.
        drives: folders to be proven as Drives, besides those that are mounted.
        only: subjects to look at.
        deep_seconds: how long the deep part takes.

    Returns:
        Plain data, as :func:`schema` describes it. A finding is an answer: nothing here raises for a broken machine.

    Raises:
        UsageError: there is no such subject.
    """
    wanted = tuple(only)
    if unknown := [name for name in wanted if name not in SUBJECTS]:
        raise UsageError(f"The doctor knows no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}.")
    started = time.perf_counter()
    hardware = detect(path)
    name, why = choose_profile(hardware)
    report: Report = {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "deep": deep,
        "hardware": _as_json(hardware),
        "memory_bandwidth_gbs": round(memory_bandwidth_gbs(0.3), 1),
        "versions": versions(),
        "models": _models(),
        "profile": {"name": name, "why": why},
    }
    place = str(hardware.disk_path)
    found = [*_findings(report, wanted, place, drives)]
    if deep:
        found += _deep(hardware.torch_cuda, place, deep_seconds, found)
    report["findings"] = [finding.plain() for finding in found]
    report["seconds"] = round(time.perf_counter() - started, 1)
    return report


def _as_json(hardware: Any) -> Report:
    found = asdict(hardware)
    for key in ("gpu", "torch_gpu"):
        if found[key]:
            found[key] = {k: list(v) if isinstance(v, tuple) else v for k, v in found[key].items()}
    return found


def _findings(report: Report, wanted: tuple[str, ...], place: str, drives: Sequence[str]) -> Iterator[Finding]:
    """Everything that is not a matter of speed side by side; what is timed alone, after that."""
    from framelane.doctor import codecs, space, storage

    computes = bool(report["hardware"]["torch_cuda"])
    gpu = computes or bool(report["hardware"]["gpu"])
    arguments: dict[str, Any] = {"attention": {"gpu": computes}}
    calls: list[tuple[str, str, Any]] = [(name, "", arguments.get(name, {})) for name in _TOGETHER if name in wanted]
    if "codecs" in wanted:
        # Where a driver answers, each rung has a process of its own: one that crashes leaves the others their say.
        groups = [[rung] for rung in _RUNGS] if gpu else [[*_RUNGS]]
        calls = [*(("codecs", f"video {rungs[0]}", {"rungs": rungs}) for rungs in groups), *calls]
    found: list[Finding] = []
    with ThreadPoolExecutor(2) as pool:
        for answer in pool.map(lambda call: _ask(call[0], name=call[1], **call[2]), calls):
            found += answer
    yield from found
    if "codecs" in wanted:
        yield from codecs.summary(gpu, found)
    if "onnx" in wanted:
        yield from _ask("onnx", gpu=gpu)
        yield from _wrong_cuda(report)
    if "storage" in wanted:
        for folder, named in storage.places(list(drives)):
            yield from _ask("storage", what="drive", folder=folder, named=named)
        yield from _ask("storage", what="disk", folder=place)
    if "space" in wanted:
        yield from space.findings(report["hardware"])
    if "models" in wanted:
        yield from model_findings(report["models"])


def _ask(subject: str, limit_s: float = 0, **arguments: Any) -> list[Finding]:
    return in_child(subject, limit_s or _LIMIT[subject], _DRIVER, **arguments)


def _deep(gpu: bool, place: str, seconds: float, found: list[Finding]) -> list[Finding]:
    """The parts of the deep look, one after the other; encoders that were not looked at are the CPU's."""
    from framelane.doctor import deep

    working = [tuple(f.name.split()[1:]) for f in found if f.name.startswith("encode ") and f.status == "ok"]
    measured: list[Finding] = []
    for what, share in deep.shares(seconds).items():
        arguments = {"folder": place, "gpu": gpu, "encoders": working or [("cpu", "h264")]}
        measured += _ask("deep", 120 + 4 * share, what=what, seconds=share, **arguments)
    return measured


def _wrong_cuda(report: Report) -> Iterator[Finding]:
    """An onnxruntime-gpu for a newer CUDA than the driver's, which runs on the CPU without a word."""
    gpu, version = report["hardware"]["gpu"], report["versions"]["packages"]["onnxruntime-gpu"]
    if gpu and needs_cuda_13(version) and int(gpu["cuda"].split(".")[0]) < 13:
        said = f"onnxruntime-gpu {version} needs CUDA 13, and the driver offers {gpu['cuda']}: it would run on the CPU."
        yield Finding("ONNX Runtime's CUDA", "error", said, "Install onnxruntime-gpu 1.26.0.")


def needs_cuda_13(version: str | None) -> bool:
    """Whether this onnxruntime-gpu is built for CUDA 13: 1.27 was the first."""
    parts = (version or "0.0").split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit()) >= (1, 27)


def versions() -> Report:
    """Versions: ``packages`` by name (None: not installed), ``ffmpeg``'s libraries, ONNX Runtime's ``providers``."""
    import av

    from framelane.doctor.packages import version_of

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "framelane": version_of("framelane"),
        "packages": {name: version_of(name) for name in _PACKAGES},
        "ffmpeg": {name: ".".join(map(str, number)) for name, number in sorted(av.library_versions.items())},
        "ffmpeg_command": _ffmpeg(),
        "providers": _providers(),
    }


def _ffmpeg() -> str | None:
    """The version of the ffmpeg program that the rungs run, and where it was found where that is not PATH."""
    from framelane.video.ffmpeg import VARIABLE, find, said

    try:
        program = find()
    except UsageError as error:
        return f"none: {error}"
    if program.path is None:
        return None
    text = said(program.path, "-version")
    if not text.startswith("ffmpeg version "):
        return "does not answer 'ffmpeg -version'"
    version = text.removeprefix("ffmpeg version ").split()[0]
    if program.origin.startswith(VARIABLE):
        return f"{version} ({VARIABLE})"
    return version if program.origin.endswith("PATH.") else f"{version} (built by the installer)"


def _providers() -> list[str]:
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        return list(onnxruntime.get_available_providers())
    except Exception:  # also AttributeError, when one of two installed builds was removed; the probe says why
        return []


def _models() -> Report:
    """The model catalogue with each model's state, or why it cannot be read."""
    try:
        from framelane.models import store

        rows = [{key: _plain(value) for key, value in asdict(row).items()} for row in store.table()]
    except Exception as error:  # the doctor reports a broken installation instead of failing in it
        return {"rows": [], "error": f"The model catalogue cannot be read ({chain(error)})."}
    return {"rows": rows, "error": None}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) or value is None else str(value)


def model_findings(models: Report) -> Iterator[Finding]:
    """What is wrong with the models; what can be fetched is no fault."""
    if models["error"]:
        yield Finding("models", "error", models["error"], "Install framelane again.")
        return
    states = [row["state"] for row in models["rows"]]
    for row in models["rows"]:
        if row["state"] == "damaged":
            fix = f"Run: {row['command']}"
            yield Finding("models", "error", f"The file of the model {row['name']} is damaged.", fix)
    counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    figures = {state: states.count(state) for state in sorted(set(states))}
    yield Finding(
        "models",
        "ok",
        f"Of {len(states)} models in the catalogue: {counted}. {' '.join(_how_fetched(models['rows']))}",
        figures=figures,
    )


def _how_fetched(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """In sentences, which of the missing models come by themselves, and which do not."""
    missing = {row["name"]: row["asks"] for row in rows if row["state"] == "missing"}
    if not missing:
        return
    yield "A missing one is fetched when a setting asks for it."
    if unsure := [name for name, asks in missing.items() if asks == "--trust"]:
        yield f"No digest is published of {', '.join(unsure)}: those only framelane models fetch NAME --trust brings."
    if bound := [name for name, asks in missing.items() if asks == "--accept-licence"]:
        yield f"The licence of {', '.join(bound)} is accepted first: framelane models fetch NAME --accept-licence."
    if (depth := Settings().depth.model) in missing:
        yield f"{depth}, which depth works with, is fetched by itself on a GPU only: framelane models fetch {depth}."


def render(report: Report) -> RenderableType:
    """The report as one box for the terminal (see ``view``)."""
    from framelane.doctor.view import box

    return box(report)


def paste_block(report: Report, *, path: Path | str = ".", drives: Sequence[str] = ()) -> str:
    """The report as a fenced block for a bug report, without what names anybody (see ``paste`` and ``redact``).

    Args:
        report: from :func:`examine`.
        path: as it was given there.
        drives: as they were given there.
    """
    from framelane.doctor import paste, redact, storage

    folders = [folder for folder, _ in storage.places(list(drives))]
    return paste.block(
        report, redact.secrets_here(folders, (str(Path(path).absolute()), report["hardware"]["disk_path"]))
    )


def schema() -> Report:
    """The JSON schema (draft 2020-12) of what :func:`examine` returns."""
    import json
    from importlib import resources

    found: Report = json.loads((resources.files("framelane.doctor") / "schema.json").read_text(encoding="utf-8"))
    return found
