"""The dashboard's pieces as HTML: plain functions of a :class:`framelane.notebook.model.Model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.notebook import markup
from framelane.notebook.charts import STYLE as CHARTS
from framelane.notebook.charts import Curve, Limit, Sign, chart
from framelane.notebook.entries import Line, Mark, Row
from framelane.notebook.markup import Html
from framelane.notebook.model import SPAN_S, Model

_LINES, _FAILED_ROWS = 40, 8
_RULES = {"gpu": ("vram",), "heat": ("temperature",), "ram": ("ram", "ceiling")}

STYLE = (
    CHARTS
    + """
.fl-rows{display:grid;gap:.35em}.fl-row{display:grid;grid-template-columns:minmax(9em,1fr) 2fr;gap:.1em 1em}
.fl-log{max-height:11em;overflow-y:auto;display:flex;flex-direction:column-reverse;border:1px solid var(--fl-line);
border-radius:6px;padding:.3em .6em;font-size:13px}
.fl-log ol{list-style:none;margin:0;padding:0}.fl-log time{opacity:.82;font-variant-numeric:tabular-nums;margin-right:.6em}
.fl-log .fl-sign{display:inline-block;width:1.1em}
.fl-frames{display:flex;flex-wrap:wrap;gap:.6em}.fl-frames figure{margin:0}.fl-frames img{display:block;width:320px;
max-width:100%;height:auto;border-radius:4px}
.fl-mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px;white-space:pre-wrap}
"""
)


def style() -> Html:
    """All that the dashboard needs, in one element."""
    return Html(f"{markup.style()}<style>{STYLE}</style>")


# -- progress ------------------------------------------------------------------------------------------------------------


def overall(model: Model) -> Html:
    """The bar of the whole batch, with how many clips are in each state and what is left."""
    counts = {state: number for state, number in model.counts.items() if number}
    badges = markup.join(
        (markup.badge(state, f"{number} {markup.state_word(state)}") for state, number in counts.items()), " "
    )
    state = "paused" if model.paused else "running"
    if model.ended is not None:
        state = {0: "done", 3: "done", 130: "waiting"}.get(model.ended.get("exit_code"), "failed")  # type: ignore[arg-type]
    known = model.jobs > 0
    pieces = [
        markup.bar(model.share if known else None, _headline(model), state=state),
        markup.line(badges) if badges else "",
    ]
    return markup.box(markup.join(pieces))


def _headline(model: Model) -> str:
    if model.ended is not None:
        return sentence(str(model.ended.get("message", "")))
    if not model.jobs:
        return _("The batch starts …")
    if model.phase == "measuring":
        return _("Measuring how fast this machine is, once; then the plan is made.")
    over = model.jobs - model.waiting - len(model.running)
    words = {"done": over, "jobs": model.jobs, "share": f"{100 * model.share:.0f}", "time": duration(model.eta_s)}
    said = {
        "paused": _("Paused. {done} of {jobs} clips are through."),
        "stopping": _("Ending after this clip. {done} of {jobs} clips are through."),
    }.get(model.phase)
    if said is None and model.eta_s is None:
        said = _("{done} of {jobs} clips are through, {share} %.")
    return (said or _("{done} of {jobs} clips are through, {share} %; about {time} left.")).format(**words)


def rows(model: Model) -> Html:
    """A line for what runs, failed, or waits again; the rest as numbers, however many they are."""
    parts: list[object] = [_running(row) for row in model.running.values()]
    if model.stage_ms and any(row.frame for row in model.running.values()):  # of nothing done there is no bottleneck
        parts.append(markup.line(stages(model.stage_ms, model.slowest), dim=True))
    parts += [_row(row) for row in [*model.failed.values()][:_FAILED_ROWS]]
    if (more := model.counts.get("failed", 0) - _FAILED_ROWS) > 0:
        parts.append(
            markup.line(_("{more} more clips failed; the page of the results lists them all.").format(more=more))
        )
    parts += [_row(row) for row in model.back.values() if row.job not in model.running]
    parts += [_row(row) for row in model.finished]
    for reason, number in model.skipped.items():
        why = sentence(reason) if reason else _("for other reasons")
        parts.append(
            markup.join((markup.badge("skipped", f"{number} {markup.state_word('skipped')}"), markup.text(why)), " ")
        )
    if (names := model.next_jobs()) and model.ended is None:
        listed = markup.join((markup.name(name) for name in names), ", ")
        parts.append(markup.line(Html(markup.text(_("Next:")) + " " + listed), dim=True))
    return markup.box(markup.join(Html(f"<div>{markup.text(part)}</div>") for part in parts), "fl-rows")


def _running(row: Row) -> Html:
    words = {"frame": row.frame, "frames": row.frames, "fps": f"{row.fps:.1f}", "time": duration(row.eta_s)}
    if not row.frames:
        said = _("It begins …")
    elif row.state == "failed":
        said = sentence(row.reason)
    elif row.eta_s is None:
        said = _("frame {frame} of {frames}").format(**words)
    else:
        said = _("frame {frame} of {frames} at {fps} frames/s, about {time} left").format(**words)
    share = row.share if row.frames else None
    head = markup.join((markup.badge(row.state), markup.name(row.job)), " ")
    return Html(f'<div class="fl-row"><div>{head}</div>{markup.bar(share, said, state=row.state)}</div>')


def _row(row: Row) -> Html:
    said: object = sentence(row.reason) if row.reason else ""
    if row.state == "done" and row.seconds:
        said = _("{frames} frames in {time}").format(frames=row.frames, time=duration(row.seconds))
    colon = ":" if said else ""
    return Html(f"{markup.badge(row.state)} {markup.name(row.job)}{colon} {markup.text(said)}")


def stages(stage_ms: Mapping[str, float], slowest: str) -> str:
    """Time a frame by stage, and which stage all wait for."""
    names = {"decode": _("decode"), "process": _("process"), "encode": _("encode")}
    times = ", ".join(f"{names.get(stage, stage)} {ms:.1f} ms" for stage, ms in stage_ms.items())
    reasons = {
        "decode": _("Decoding is the bottleneck: the clip is read slower than it is worked on."),
        "process": _("Processing is the bottleneck: the model takes the most time."),
        "encode": _("Encoding is the bottleneck: results are written slower than they are made."),
    }
    said = _("A frame takes: {times}.").format(times=times)
    return f"{said} {reasons[slowest]}" if slowest in reasons else said


def counted(counts: Mapping[str, int]) -> str:
    """How many clips are in each state, as in ``2 done, 1 failed``."""
    return ", ".join(f"{number} {markup.state_word(state)}" for state, number in counts.items() if number)


def duration(seconds: float | None) -> str:
    """A time as people say it: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 and whole % 60 else f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


# -- the machine ---------------------------------------------------------------------------------------------------------


def gpu_line(sensors: Mapping[str, float]) -> str:
    """The GPU in the form of ``nvidia-smi``: ``62C  P: 48W  3127MiB / 15360MiB  97%``; what is not known is left out."""
    parts = []
    if "gpu_temperature" in sensors:
        parts.append(f"{sensors['gpu_temperature']:.0f}C")
    if "gpu_power_w" in sensors:
        parts.append(f"P: {sensors['gpu_power_w']:.0f}W")
    if "gpu_memory_used_mib" in sensors and "gpu_memory_total_mib" in sensors:
        parts.append(f"{sensors['gpu_memory_used_mib']:.0f}MiB / {sensors['gpu_memory_total_mib']:.0f}MiB")
    if "gpu_load" in sensors:
        parts.append(f"{sensors['gpu_load']:.0f}%")
    return "  ".join(parts)


def machine_line(sensors: Mapping[str, float]) -> str:
    """The GPU where there is one, then processor, RAM and disk."""
    parts = [f"GPU {line}" for line in [gpu_line(sensors)] if line]
    if "cpu" in sensors:
        parts.append(f"CPU {sensors['cpu']:.0f}%")
    if "ram_used_gb" in sensors and "ram_total_gb" in sensors:
        parts.append(f"RAM {sensors['ram_used_gb']:.1f} / {sensors['ram_total_gb']:.1f} GB")
    if "disk_free_mb" in sensors:
        parts.append(_("{free} GB free on the disk").format(free=f"{sensors['disk_free_mb'] / 1000:.1f}"))
    return "   ".join(parts)


def charts(model: Model, now: float) -> Html:
    """Everything that this machine has sensors for, with the guard's thresholds and what it did."""
    drawn = [draw(model, now) for draw in (_gpu_load, _vram, _heat, _cpu, _ram)]
    line = machine_line(model.sensors)
    return markup.box(
        markup.join(
            (
                Html(f'<div class="fl-mono">{markup.text(line)}</div>') if line else "",
                Html(f'<div class="fl-charts">{"".join(drawn)}</div>'),
            )
        )
    )


def _gpu_load(model: Model, now: float) -> Html:
    names = {"gpu_load": _("GPU"), "encoder_load": _("encoder"), "decoder_load": _("decoder")}
    value = "  ".join(f"{model.sensors[key]:.0f}%" for key in names if key in model.sensors)
    return chart(_("GPU load"), value, _curves(model, names), now=now, span=SPAN_S)


def _vram(model: Model, now: float) -> Html:
    names = {"gpu_memory": _("in use"), "vram": _("as the guard counts")}
    used, total = (model.sensors.get(f"gpu_memory_{key}_mib", 0.0) for key in ("used", "total"))
    value = f"{used:.0f}MiB / {total:.0f}MiB" if total else f"{model.sensors.get('gpu_memory', 0):.0f}%"
    return chart(
        _("GPU memory"), value, _curves(model, names), now=now, span=SPAN_S,
        limits=_limits(model, "vram", "{:.0f}%"), signs=_signs(model, ("vram",)),
    )  # fmt: skip


def _heat(model: Model, now: float) -> Html:
    slowdown, rule = model.sensors.get("gpu_slowdown"), model.limits.get("temperature")
    limits = []
    if slowdown:
        limits.append(Limit(slowdown, _("the GPU slows itself down at {limit}C").format(limit=f"{slowdown:.0f}")))
        if rule:
            acts = slowdown - float(rule["enter"])
            limits[:] = [Limit(acts, _("the guard acts at {limit}").format(limit=f"{acts:.0f}C"))]
    value = f"{model.sensors.get('gpu_temperature', 0):.0f}C"
    return chart(
        _("Temperature"), value, _curves(model, {"gpu_temperature": ""}), now=now, span=SPAN_S,
        top=max(100.0, slowdown or 0.0), limits=limits, signs=_signs(model, ("temperature",)),
    )  # fmt: skip


def _cpu(model: Model, now: float) -> Html:
    value = f"{model.sensors.get('cpu', 0):.0f}%"
    return chart(
        _("Processor"), value, _curves(model, {"cpu": ""}), now=now, span=SPAN_S, signs=_signs(model, ("disk",))
    )


def _ram(model: Model, now: float) -> Html:
    used, total = model.sensors.get("ram_used_gb"), model.sensors.get("ram_total_gb")
    value = f"{used:.1f} / {total:.1f} GB" if used is not None and total else f"{model.sensors.get('ram', 0):.0f}%"
    return chart(
        _("RAM"), value, _curves(model, {"ram": ""}), now=now, span=SPAN_S,
        limits=_limits(model, "ram", "{:.0f}%"), signs=_signs(model, ("ram", "ceiling")),
    )  # fmt: skip


def _curves(model: Model, names: Mapping[str, str]) -> list[Curve]:
    return [Curve(name, list(model.tracks[key])) for key, name in names.items() if key in model.tracks]


def _limits(model: Model, rule: str, form: str) -> list[Limit]:
    found = model.limits.get(rule)
    if not found:
        return []
    acts = float(found["enter"])
    return [Limit(acts, _("the guard acts at {limit}").format(limit=form.format(acts)))]


def _signs(model: Model, rules: Iterable[str]) -> list[Sign]:
    wanted = set(rules)
    return [_sign(mark) for mark in model.marks if mark.rule in wanted]


def _sign(mark: Mark) -> Sign:
    return Sign(mark.at, mark.worse, mark.text)


# -- frames and sentences ------------------------------------------------------------------------------------------------


def frames(model: Model) -> Html:
    """The current frame before and after; empty where there is none yet."""
    seen = model.preview
    pictures = [(name, str(seen.get(key) or "")) for key, name in (("before", _("before")), ("after", _("after")))]
    if not all(uri.startswith("data:image/jpeg;base64,") for _name, uri in pictures):
        return Html("")
    figures = []
    for name, uri in pictures:
        alt = _("frame {frame} of {job}, {name}").format(frame=seen.get("frame"), job=seen.get("job", ""), name=name)
        figures.append(
            f'<figure><figcaption>{markup.text(name)}</figcaption><img alt="{markup.text(alt)}" src="{markup.text(uri)}">'
            "</figure>"
        )
    return markup.box(Html("".join(figures)), "fl-frames")


def log(lines: Iterable[Line]) -> Html:
    """Sentences, the newest last and in sight."""
    signs = {"good": ("✓", _("Done")), "warning": ("!", _("Warning")), "bad": ("✕", _("Error"))}
    items = []
    for line in [*lines][-_LINES:]:
        sign, word = signs.get(line.level, ("", ""))
        unseen = f'<b class="fl-unseen">{markup.text(word)}: </b>' if word else ""
        items.append(
            f'<li><time>{markup.text(line.clock)}</time><span class="fl-sign" aria-hidden="true">{sign}</span>{unseen}'
            f"{markup.text(line.text)}</li>"
        )
    label = markup.text(_("What has happened, the newest last"))
    return markup.box(
        Html(
            f'<div class="fl-log" role="log" aria-live="polite" aria-label="{label}" tabindex="0">'
            f"<ol>{''.join(items)}</ol></div>"
        )
    )
