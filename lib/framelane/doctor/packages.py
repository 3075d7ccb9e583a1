"""Packages: what is loaded against what is installed, who owns ``cv2``, and builds that exclude each other."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from framelane.doctor.finding import Finding
from framelane.errors import chain

# import name -> distributions that may bring it
LOADED = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "av": ("av",),
    "transformers": ("transformers",),
}
_PROC = Path("/proc")
_PACKAGE = re.compile(r"/(?:site|dist)-packages/([A-Za-z0-9_]+)/")
_RESTART = "Restart the runtime (the kernel), then run the same again; nothing has to be installed."


def probe() -> list[Finding]:
    """Everything that this interpreter imports, against what is installed for it."""
    importlib.import_module("numpy")
    return [
        *loaded(sys.modules), replaced_under(_ancestors()), owners_of_cv2(), *_runtimes(), *_torchvision(),
    ]  # fmt: skip


def version_of(package: str) -> str | None:
    """A distribution's version by its metadata; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def loaded(modules: Mapping[str, Any], installed: Any = version_of) -> list[Finding]:
    """What a process has imported, against what is installed.

    Args:
        modules: ``sys.modules``; call this inside a notebook's own process to look at that one.
        installed: a distribution's version by its name, or None.
    """
    found = []
    for name, distributions in LOADED.items():
        if name not in modules:
            continue
        own = str(getattr(modules[name], "__version__", "unknown"))
        there = [version for distribution in distributions if (version := installed(distribution))]
        if not there or any(_same(own, version) for version in there):
            said = f"Loaded is {own}, installed is {', '.join(there) or 'nothing that says its version'}."
            found.append(Finding(f"loaded {name}", "ok", said, figures={"loaded": own, "installed": ", ".join(there)}))
            continue
        said = (
            f"This process loaded {name} {own}, but {', '.join(there)} is installed: replaced, or shadowed by another."
        )
        figures = {"loaded": own, "installed": ", ".join(there)}
        found.append(Finding(f"loaded {name}", "error", said, _RESTART, figures))
    return [finding for finding in found if finding.status != "ok" or finding.name == "loaded numpy"]


def _same(one: str, other: str) -> bool:
    """Versions without the local part ("+cpu"), which some builds leave out of their metadata."""
    return one.split("+", maxsplit=1)[0] == other.split("+", maxsplit=1)[0]


def _ancestors() -> Iterator[int]:
    """This process and those above it: a notebook's kernel runs the doctor as its child."""
    import psutil

    process = psutil.Process()
    yield process.pid
    try:
        yield from (parent.pid for parent in process.parents())
    except psutil.Error:
        return


def replaced_under(processes: Iterable[int], proc: Path = _PROC) -> Finding:
    """Whether a process still runs compiled files of packages that were replaced or removed since it loaded them.

    The kernel marks such a mapping "(deleted)" in ``/proc/PID/maps`` (proc_pid_maps(5)): so the version that a notebook
    has loaded need not be asked of the notebook.

    Args:
        processes: process ids; those that cannot be read are passed over.
        proc: where the kernel shows processes.
    """
    looked, stale = 0, set()
    for pid in processes:
        try:
            lines = (proc / str(pid) / "maps").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # another user's, or no such file system
            continue
        looked += 1
        stale |= {match[1] for line in lines if line.endswith(" (deleted)") and (match := _PACKAGE.search(line))}
    name = "replaced packages"
    if not looked:
        return Finding(name, "note", "No process could be looked at: this system shows no /proc.")
    if stale:
        said = (
            f"A process above this one still runs files of {', '.join(sorted(stale))} that were replaced on the disk."
        )
        return Finding(name, "error", said, _RESTART, {"processes": looked, "packages": ", ".join(sorted(stale))})
    said = f"This process and the {looked - 1} above it run no compiled file that was replaced on the disk."
    return Finding(name, "ok", said, figures={"processes": looked, "packages": ""})


def owners_of_cv2() -> Finding:
    """Which packages claim ``cv2``, and which of them the imported file is of."""
    claims = claims_of("cv2")
    try:
        cv2: Any = importlib.import_module("cv2")
    except Exception as error:
        fix = "Run: pip install --force-reinstall --no-deps opencv-python."
        return Finding("cv2", "error", f"cv2 cannot be imported ({chain(error)}).", fix)
    return judged_cv2(str(cv2.__version__), claims)


def claims_of(module: str) -> dict[str, str]:
    """Distributions whose list of files has this module, with their versions; those named like OpenCV are looked at."""
    found = {}
    for distribution in metadata.distributions():
        named = str(distribution.metadata["Name"] or "").lower()
        if ("opencv" in named or "cv2" in named) and any(
            file.parts[:1] == (module,) for file in distribution.files or ()
        ):
            found[str(distribution.metadata["Name"])] = distribution.version
    return found


def judged_cv2(version: str, claims: Mapping[str, str]) -> Finding:
    """A finding on ``cv2``.

    Args:
        version: what the imported module says of itself.
        claims: versions of the packages that own its files, by name.
    """
    # opencv-python 4.12.0.88 brings cv2 4.12.0: the fourth number counts the packaging.
    real = [name for name, own in claims.items() if own == version or own.startswith(f"{version}.")]
    named = ", ".join(f"{name} {own}" for name, own in sorted(claims.items())) or "no installed package"
    figures = {"version": version, "claims": named, "owners": ", ".join(sorted(real))}
    said = f"cv2 {version} is imported; its files belong to {named}."
    if len(claims) == 1 and real:
        return Finding("cv2", "ok", said, figures=figures)
    if not claims:
        return Finding("cv2", "note", said, "Nothing, unless cv2 misbehaves: then install opencv-python.", figures)
    keep = "opencv-python" if "opencv-python" in claims else sorted(claims)[0]
    others = " ".join(sorted(set(claims) - {keep}))
    fix = f"If cv2 misbehaves: pip uninstall -y {others} {keep}, then pip install --no-deps {keep}.".replace("  ", " ")
    if not real:
        said += " None of them is of that version: one overwrote another's files."
        return Finding("cv2", "warning", said, fix, figures)
    said += f" They overwrite each other's files; what is imported is of {', '.join(sorted(real))}."
    return Finding("cv2", "note", said, fix, figures)


def _runtimes() -> Iterator[Finding]:
    """Builds of ONNX Runtime that exclude each other."""
    found = {name: version for name in ("onnxruntime", "onnxruntime-gpu") if (version := version_of(name))}
    if len(found) > 1:
        said = "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files."
        yield Finding("ONNX Runtime builds", "error", said, "Uninstall both, then install one of them again.", found)
    if not found:
        fix = "Install onnxruntime (or onnxruntime-gpu on a GPU)."
        yield Finding("ONNX Runtime builds", "error", "ONNX Runtime is not installed.", fix)


def _torchvision() -> Iterator[Finding]:
    """Whether torchvision's own operators run."""
    if not (version := version_of("torchvision")):
        return
    try:
        import torch

        ops = importlib.import_module("torchvision.ops")
        ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:  # RuntimeError for missing operators, others for a broken build
        said = (
            f"torchvision {version} does not fit PyTorch {version_of('torch')} ({chain(error)}); framelane stands in for "
            "the missing operators."
        )
        fix = "To mend it, install the torchvision of the same release and the same build (CPU or CUDA) as torch."
        yield Finding("torchvision", "warning", said, fix)
        return
    yield Finding("torchvision", "ok", f"torchvision {version} runs its own operators.")
