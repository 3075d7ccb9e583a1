"""What to install, as plain data: decided before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import traps
from .detect import Machine
from .pins import COMPONENTS, PLANNED, Group
from .versions import CV2_OWNERS, RUNTIMES, UNTOUCHED, Package, normal, unmet

_CUDA_LIBRARIES = ("nvidia-", "cuda-")
_BUILD_TOOLS = ("pip", "setuptools", "wheel")  # nothing in a notebook has them loaded, and torch may need a newer one


@dataclass(frozen=True)
class Plan:
    """What this machine lacks.

    Attributes:
        mend: exact requirements that were installed only in part.
        lacking: requirements to resolve with what they require.
        apart: requirements to install without their dependencies.
        remove: packages to take away first (an ONNX Runtime that does not belong here).
        runtime: the requirement of the ONNX Runtime that belongs here.
        reasons: a sentence for each thing that is lacking.
        notes: sentences for the user about what was decided and what is left as it is.
    """

    mend: tuple[str, ...]
    lacking: tuple[str, ...]
    apart: tuple[str, ...]
    remove: tuple[str, ...]
    runtime: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.mend or self.lacking or self.apart or self.remove)


def make(
    machine: Machine,
    packages: Mapping[str, Package],
    groups: Mapping[str, Group],
    components: Iterable[str],
    ours: Iterable[str] = (),
    torch: bool = True,
) -> Plan:
    """Compare what is wanted with what is installed.

    Args:
        machine: where this is.
        packages: what is installed, by normal name.
        groups: of :func:`.pins.read`.
        components: names out of :data:`.pins.COMPONENTS` and :data:`.pins.PLANNED`.
        ours: packages that an earlier run of the installer had begun to install: they are mended, not left alone.
        torch: install it where it is missing.
    """
    ours = frozenset(ours)
    plain, apart, notes = _wanted(machine, groups, components, ours, torch)
    keep = {spec: loose for group in groups.values() for spec, loose in group.keep.items()}
    plain, apart = ([_kept(spec, keep, packages) for spec in specs] for specs in (plain, apart))
    runtime = traps.onnxruntime(packages, machine.driver, machine.torch, machine.torch_cuda)
    spec = (groups[runtime.group].plain + groups[runtime.group].apart)[0]
    replaced = bool(runtime.remove)
    if not runtime.keep:
        (apart if replaced else plain).append(spec)
    gone = {name: package for name, package in packages.items() if name not in runtime.remove}
    closed = frozenset(UNTOUCHED) - ours
    lacking = [one for one in unmet(plain, gone, closed=closed) if one.name not in closed or one.name not in packages]
    if runtime.keep or replaced:  # a requirement on either flavour is met by the one that stays or comes back
        lacking = [one for one in lacking if one.name not in RUNTIMES]
    partial = [one for name, one in packages.items() if not one.whole and name in {*ours, *(x.name for x in lacking)}]
    lacking = [one for one in lacking if one.name not in {normal(x.name) for x in partial}]
    bare = unmet(apart, gone, deep=False)
    return Plan(
        mend=tuple(f"{normal(one.name)}=={one.version}" for one in partial),
        lacking=tuple(dict.fromkeys(plain)) if lacking else (),
        apart=tuple(one.requirement for one in bare),
        remove=runtime.remove,
        runtime=spec,
        reasons=tuple(
            dict.fromkeys(
                [f"{one.name} was installed only in part." for one in partial]
                + [f"{one.why}." for one in (*lacking, *bare)]
            )
        ),
        notes=(*notes, runtime.why, *traps.notes(packages, machine)),
    )


def _kept(spec: str, keep: Mapping[str, str], packages: Mapping[str, Package]) -> str:
    """The range where what is installed lies within it, else the pin."""
    loose = keep.get(spec)
    return loose if loose and not unmet([loose], packages, deep=False) else spec


def _wanted(
    machine: Machine, groups: Mapping[str, Group], components: Iterable[str], ours: frozenset[str], torch: bool
) -> tuple[list[str], list[str], list[str]]:
    """(requirements, those without their dependencies, sentences) of the base and the components."""
    components = list(components)
    chosen = ["base", *(name for name in components if name in COMPONENTS)]
    notes = [
        f"{name} is planned and not there yet; the base is all it needs." for name in components if name in PLANNED
    ]
    if "gfpgan" in chosen and (refused := traps.gfpgan(machine.python)):
        chosen.remove("gfpgan")
        notes.append(refused)
    plain = [spec for name in chosen for spec in groups[name].plain]
    apart = [spec for name in chosen for spec in groups[name].apart]
    if torch and (machine.torch is None or "torch" in ours):
        plain += groups["torch"].apart
    if machine.torch is None:
        notes.append(
            traps.new_torch(machine.driver) if torch else "torch is missing and left out: no model runs without it."
        )
    return plain, apart, notes


def constraints(packages: Mapping[str, Package], strict: bool) -> list[str]:
    """Lines of a constraints file that holds what is there at its live version.

    Args:
        packages: what is installed.
        strict: everything; else only what must never change.
    """
    held = set(UNTOUCHED) | set(CV2_OWNERS) | {"protobuf", "ipykernel", "ipython", "ipywidgets", "tornado", "pyzmq"}
    lines = []
    for name, package in sorted(packages.items()):
        if name in (*RUNTIMES, *_BUILD_TOOLS) or not package.whole:
            continue
        if strict or name in held or name.startswith(_CUDA_LIBRARIES):
            lines.append(f"{name}=={package.version}")
    return lines


@dataclass(frozen=True)
class Chosen:
    """The resolver's answer, filtered.

    Attributes:
        install: exact requirements, ``name==version``.
        changed: those of them that replace another version.
        left_out: what the resolver wanted and is not installed, with the reason.
    """

    install: tuple[str, ...]
    changed: tuple[str, ...]
    left_out: tuple[str, ...]


def choose(
    report: Mapping[str, Any], packages: Mapping[str, Package], runtime: str, ours: Iterable[str] = ()
) -> Chosen:
    """Take from pip's report what may be installed.

    Args:
        report: JSON of ``pip install --dry-run --report``.
        packages: what is installed.
        runtime: the requirement of the ONNX Runtime that belongs here: no other is let in.
        ours: packages that an earlier run of the installer had brought.
    """
    install, changed, left_out = [], [], []
    owner = next((packages[name].name for name in CV2_OWNERS if name in packages), None)
    torch_there = "torch" in packages and "torch" not in set(ours)
    ours = normal(runtime.partition("=")[0])
    for item in report.get("install", []):
        name, version = normal(item["metadata"]["name"]), item["metadata"]["version"]
        exact = f"{name}=={version}"
        if name in UNTOUCHED and name in packages:
            left_out.append(f"{exact}: {name} is the runtime's and stays {packages[name].version}")
        elif torch_there and name.startswith(_CUDA_LIBRARIES) and name not in packages and name != "nvidia-ml-py":
            left_out.append(f"{exact}: torch is there with its own CUDA libraries")
        elif name in CV2_OWNERS and owner:
            left_out.append(f"{exact}: {owner} owns cv2 already")
        elif name in RUNTIMES and name != ours:
            left_out.append(f"{exact}: {runtime} is the ONNX Runtime here")
        else:
            install.append(exact)
            if name in packages and packages[name].version != version:
                changed.append(name)
    return Chosen(tuple(install), tuple(changed), tuple(left_out))
