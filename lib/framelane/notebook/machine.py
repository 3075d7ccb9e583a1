"""The cells about the machine: what it can do, how fast it is, what fits into a session, and the session's end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook import host as hosts
from framelane.notebook import markup, painting
from framelane.notebook.asking import asked, cell, displayed, place_of
from framelane.notebook.markup import Html

_GB = 1e9


@cell
def setup(*, drive: bool = False) -> None:
    """Say what this machine can do, in short.

    Args:
        drive: also mount Google Drive, on Colab.

    Raises:
        FramelaneError: Drive cannot be mounted, or the machine not be looked at.
    """
    host = hosts.detect()
    if drive and host.name == "colab":
        place = hosts.mount(print, host)
        print(_("Drive is at {place}.").format(place=place))
    elif drive:
        print(_("There is no Drive on {host}; folders of this session serve.").format(host=host.title))
    report = json.loads(asked(["doctor", "--json"], _("Looking at the machine …")))
    rows = _machine(report, host.title)
    findings = [
        (found["status"], f"{sentence(found['evidence'])} {sentence(found['fix'])}".strip())
        for found in report["findings"]
        if found["status"] in ("warning", "error")
    ]
    pieces = [markup.heading(_("This machine")), markup.facts(rows)]
    pieces += [markup.notice(said, level) for level, said in findings]
    if not displayed(Html(f"{markup.style()}{markup.box(markup.join(pieces))}")):
        for name, value in rows:
            print(f"{name}: {value}")
        for level, said in findings:
            print(f"{level}: {said}")


def _machine(report: Mapping[str, Any], host: str) -> list[tuple[str, str]]:
    hardware, profile = report["hardware"], report["profile"]
    gpu = hardware["gpu"]
    seen = sentence(hardware["gpu_reason"])
    if gpu:
        free, total = gpu["vram_free"] / _GB, gpu["vram_total"] / _GB
        seen = _("{name}, {free} of {total} GB of memory free, driver {driver}").format(
            name=gpu["name"], free=f"{free:.1f}", total=f"{total:.1f}", driver=gpu["driver"]
        )
    proven = [found["name"].partition(" ") for found in report["findings"] if found["status"] == "ok"]
    decoders, encoders = ([way for what, _space, way in proven if what == kind] for kind in ("decode", "encode"))
    free, total = hardware["ram_available"] / _GB, hardware["ram_total"] / _GB
    return [
        (_("Host"), host),
        (_("GPU"), seen),
        (_("Processor"), _("{cpu}, {cores} cores").format(cpu=hardware["cpu"], cores=hardware["cores_usable"])),
        (_("RAM"), _("{free} of {total} GB free").format(free=f"{free:.1f}", total=f"{total:.1f}")),
        (_("Disk"), _("{free} GB free").format(free=f"{hardware['disk_free'] / _GB:.1f}")),
        (_("Decoders that work"), ", ".join(decoders) or "–"),
        (_("Encoders that work"), ", ".join(encoders) or "–"),
        (_("Profile"), f"{profile['name']}: {sentence(profile['why'])}"),
    ]


@cell
def bench(name: str = "engine", *, quick: bool = True) -> None:
    """Measure this machine, against plain loops in the same run.

    Args:
        name: as of ``framelane bench``.
        quick: the short form, of about a minute; only ``engine``, ``faceswap`` and ``video`` have one.

    Raises:
        FramelaneError: something that is measured does not work.
    """
    more = ["--quick"] if quick and name in ("engine", "faceswap", "video") else []
    figures = json.loads(asked(["bench", name, "--json", *more], _("Measuring; leave the machine alone meanwhile …")))
    from framelane.notebook.bench_view import bench_view, lines

    if not displayed(bench_view(figures)):
        for text in lines(figures):
            print(text)


@cell
def plan(
    processor: str,
    input: str | os.PathLike[str],
    *,
    mode: str | None = None,
    profile: str | None = None,
    budget: str = "80m",
) -> None:
    """Say what clips will take here, and what fits into the session; nothing is made.

    Args:
        processor: what would happen to the clips.
        input: a clip or a folder.
        mode: as of :func:`run`.
        profile: the same.
        budget: the same.

    Raises:
        FramelaneError: there is no such processor or folder, or nothing can be planned.
    """
    given = [word for flag, value in (("--mode", mode), ("--profile", profile)) if value for word in (flag, value)]
    where = str(place_of(input))
    told = json.loads(asked(["plan", processor, "--json", "--budget", budget, *given, "--", where], _("Planning …")))
    rows = [(job["clip"], painting.duration(job["seconds"]), markup.state_word(job["state"])) for job in told["jobs"]]
    table = markup.table(
        (_("clip"), _("takes"), _("this session")), [(markup.name(a), b, c) for a, b, c in rows], right=" r "
    )
    said = _("{total} of work; {fits} of it fits into this session.").format(
        total=painting.duration(told["total_s"]), fits=painting.duration(told["admitted_s"])
    )
    if not displayed(Html(f"{markup.style()}{markup.box(markup.join((table, markup.line(said))))}")):
        for row in rows:
            print("  ".join(row))
        print(said)


@cell
def secret(name: str) -> str:
    """A secret (a webhook's address, a stream's key) from the host's own store, else from the environment.

    Args:
        name: as it is called there.

    Raises:
        UsageError: it is nowhere, or this notebook may not read it; the text says what to click.
    """
    return hosts.secret(name)


@cell
def finish(*, flush: bool = False) -> None:
    """The end of a session: have everything written to Drive, and let it go.

    Args:
        flush: False only says what it would do; Drive cannot be mounted again afterwards.

    Raises:
        FramelaneError: Drive does not confirm that everything was written.
    """
    if not flush:
        print(_("Nothing was done. Tick FLUSH at the very end of the session, when no batch is to follow."))
    elif hosts.flush(print):
        print(_("Everything is in Drive. The session can be closed."))
    else:
        print(_("There was nothing to write to Drive."))
