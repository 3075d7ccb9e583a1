"""Small pieces of HTML that the widgets are made of: every text is escaped, nothing comes from elsewhere, and
hardly a script: one copies a line, one leaves arrow keys to lists.

Pieces are :class:`Html`, a text that is markup already; whatever is not, :func:`text` escapes. So a file name can never
become markup, however it is passed on. Colours come from the theme of the page (Colab, JupyterLab and VS Code name theirs
differently); where there is none, from what the browser prefers. Badges bring both of their colours, so that they can be
read on any ground, and say by word, sign and lightness what their hue says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from pathlib import Path

from framelane.i18n import gettext as _
from framelane.jobs.plan_view import shown


class Html(str):
    """A text that is markup: it is put into a page as it is."""

    __slots__ = ()


def text(value: object) -> Html:
    """Any value as markup: escaped, unless it is :class:`Html` already. What is no UTF-8 is shown as escapes."""
    if isinstance(value, Html):
        return value
    plain = str(value).encode("utf-8", errors="backslashreplace").decode()
    return Html(escape("".join(c for c in plain if c.isprintable() or c.isspace()), quote=True))


def name(path: str | Path) -> Html:
    """A file name: on one line, and apart from what stands around it, whichever way its letters run."""
    return Html(f"<bdi>{escape(shown(path), quote=True)}</bdi>")


def join(pieces: Iterable[object], between: str = "") -> Html:
    """Pieces one after the other."""
    return Html(between.join(text(piece) for piece in pieces))


def box(content: object, kind: str = "") -> Html:
    """What everything stands in: it brings the colours and the font.

    Args:
        content: the inside.
        kind: another class or two.
    """
    return Html(f'<div class="{_classes("fl", kind)}">{text(content)}</div>')


def heading(title: object, level: int = 3) -> Html:
    """A heading; assistive technology finds its way by them."""
    return Html(f"<h{level}>{text(title)}</h{level}>")


def line(content: object, *, dim: bool = False) -> Html:
    """A paragraph.

    Args:
        content: the sentence.
        dim: less prominent, and still readable.
    """
    return Html(f"<p{' class=fl-dim' if dim else ''}>{text(content)}</p>")


def card(title: object, content: object = "", *, chosen: bool = False, foot: object = "") -> Html:
    """A box with a title.

    Args:
        title: its heading.
        content: pieces below it.
        chosen: drawn with a thick frame and a tick, and said in words.
        foot: a line at the bottom.
    """
    mark = f' <span class="fl-tick">✓ {text(_("chosen"))}</span>' if chosen else ""
    end = f'<div class="fl-foot">{text(foot)}</div>' if foot else ""
    return Html(
        f'<div class="{_classes("fl", "fl-card", "fl-chosen" if chosen else "")}"><h4>{text(title)}{mark}</h4>'
        f"<div>{text(content)}</div>{end}</div>"
    )


def bar(share: float | None, label: object, *, state: str = "running") -> Html:
    """How much of something is done, as a bar with its words below.

    Args:
        share: 0 to 1; None where it cannot be said.
        label: what it is the share of, for eyes and for screen readers.
        state: one of the states of :func:`badge`; ``failed`` is hatched.
    """
    part = None if share is None else min(1.0, max(0.0, share))
    now = "" if part is None else f' aria-valuenow="{100 * part:.0f}"'
    width = 100 if part is None else 100 * part
    kind = _classes("fl-bar", "fl-hatched" if part is None or state == "failed" else "", f"fl-b-{_known(state)}")
    return Html(
        f'<div class="fl"><div class="{kind}" role="progressbar" aria-valuemin="0" aria-valuemax="100"{now} '
        f'aria-label="{text(_plain(label))}"><span style="width:{width:.1f}%"></span></div>'
        f'<div class="fl-under">{text(label)}</div></div>'
    )


def table(header: Sequence[object], rows: Iterable[Sequence[object]], *, caption: object = "", right: str = "") -> Html:
    """A table that scrolls sideways where it is too wide.

    Args:
        header: of the columns.
        rows: cells; anything that :func:`text` takes.
        caption: what it shows.
        right: a letter for each column, ``r`` where numbers stand flush right.
    """
    sides = ["fl-r" if side == "r" else "" for side in right.ljust(len(header))]
    head = "".join(_cell("th", cell, side, ' scope="col"') for cell, side in zip(header, sides, strict=False))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, side) for cell, side in zip(row, sides, strict=False))}</tr>" for row in rows
    )
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="fl fl-wide" tabindex="0" role="group"><table>{said}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(pairs: Mapping[str, object] | Iterable[tuple[object, object]]) -> Html:
    """Names and their values, one pair a line."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    rows = "".join(f"<dt>{text(key)}</dt><dd>{text(value)}</dd>" for key, value in items)
    return Html(f'<dl class="fl fl-facts">{rows}</dl>')


def notice(sentence: object, kind: str = "note") -> Html:
    """A sentence that should be seen.

    Args:
        sentence: what is to be read.
        kind: ``error``, ``warning`` or ``note``; errors are read out at once.
    """
    sign, word = {
        "error": ("✕", _("Error")),
        "warning": ("!", _("Warning")),
    }.get(kind, ("i", _("Note")))
    role = "alert" if kind == "error" else "status"
    kind = kind if kind in ("error", "warning") else "note"
    return Html(
        f'<div class="fl fl-notice fl-n-{kind}" role="{role}"><span class="fl-sign" aria-hidden="true">{sign}</span>'
        f'<span><b class="fl-unseen">{text(word)}: </b>{text(sentence)}</span></div>'
    )


def badge(state: str, words: object = None) -> Html:
    """A state as a small label: sign, word and lightness say the same as its hue.

    Args:
        state: ``done``, ``failed``, ``skipped``, ``waiting``, ``running`` or ``paused``; a plan's ``done already``,
            ``fits``, ``fits in part`` and ``next time``; ``ended`` and ``cancelled``.
        words: what it says; None is the state itself.
    """
    kind = _known(state)
    said = state_word(state) if words is None else words
    return Html(
        f'<span class="fl-badge fl-b-{kind}"><span aria-hidden="true">{_SIGNS[kind]}</span> {text(said)}</span>'
    )


def state_word(state: str) -> str:
    """The name of a state in the reader's language; one that is not known as it is."""
    return {
        "done": _("done"),
        "failed": _("failed"),
        "skipped": _("skipped"),
        "waiting": _("waiting"),
        "running": _("running"),
        "paused": _("paused"),
        "cancelled": _("cancelled"),
        "ended": _("ended"),
        "done already": _("done already"),
        "fits": _("fits"),
        "fits in part": _("fits in part"),
        "next time": _("next time"),
    }.get(state, state)


def copyable(code: str, label: object) -> Html:
    """A command line that one click selects as a whole, with a button that copies it where the page allows that.

    Args:
        code: the line; it is shown as it is, but for what is no UTF-8.
        label: what it is, for screen readers.
    """
    return Html(
        f'<div class="fl fl-copy"><code tabindex="0" role="textbox" aria-readonly="true" aria-label="{text(label)}">'
        f"{text(code)}</code>{_COPY}{text(_('Copy'))}</button></div>"
    )


def style() -> Html:
    """The style of all pieces; once in a page is enough."""
    return Html(f"<style>{_STYLE}</style>")


def keys() -> Html:
    """Leaves the arrow keys to lists that can be chosen from; once in a page is enough.

    JupyterLab takes them for going from cell to cell wherever the focus is not in a text (its shortcuts apply to
    ``:focus:not(:read-write)``), so no list could be used with the keyboard alone. Lumino leaves out what has the
    attribute. Elsewhere, and where scripts are not allowed, this does nothing.
    """
    return Html(f'<img src="data:," alt="" hidden onerror="{_KEYS}">')


_KEYS = (
    "if(!window.flKeys){window.flKeys=1;document.addEventListener('focusin',e=>{"
    "const t=e.target,o=t.closest&amp;&amp;t.closest('.jp-OutputArea-output');"
    "if(o&amp;&amp;o.querySelector('.fl')&amp;&amp;t.matches('select,input[type=radio]'))"
    "t.setAttribute('data-lm-suppress-shortcuts','true')})}"
)

# Needs nothing of the page but a selection; where scripts are not allowed the line can be selected by hand.
_COPY = (
    '<button type="button" onclick="const c=this.previousElementSibling,s=getSelection();s.selectAllChildren(c);'
    "try{document.execCommand('copy');navigator.clipboard&amp;&amp;"
    'navigator.clipboard.writeText(c.textContent).catch(()=>0)}catch(e){}">'
)

_SIGNS = {"done": "✓", "failed": "✕", "skipped": "–", "waiting": "…", "running": "▶", "paused": "‖"}
_ALIKE = {"done already": "done", "fits": "running", "fits in part": "paused", "next time": "waiting",
          "cancelled": "skipped", "ended": "skipped"}  # fmt: skip


def _known(state: str) -> str:
    kind = _ALIKE.get(state, state)
    return kind if kind in _SIGNS else "waiting"


def _classes(*kinds: str) -> str:
    return escape(" ".join(kind for kind in kinds if kind), quote=True)


def _cell(tag: str, content: object, side: str, more: str = "") -> str:
    return f"<{tag}{f' class={side}' if side else ''}{more}>{text(content)}</{tag}>"


def _plain(label: object) -> str:
    """A label without its markup, for an attribute."""
    if not isinstance(label, Html):
        return str(label)
    return unescape(re.sub(r"<[^>]*>", "", label))


BADGES = {
    "done": ("#ffffff", "#1b6e47"),
    "failed": ("#ffffff", "#8c1d18"),
    "running": ("#06234f", "#9cc4ff"),
    "paused": ("#2b1a5a", "#cdbff0"),
    "waiting": ("#3a2a00", "#f3d27a"),
    "skipped": ("#2a2d31", "#d7dade"),
}
"""Ink and ground of every state."""

_BADGES = "".join(f".fl-b-{kind}{{--fl-on:{ink};--fl-at:{ground}}}" for kind, (ink, ground) in BADGES.items())

_STYLE = (
    """
.fl{--fl-ink:var(--colab-primary-text-color,var(--jp-ui-font-color0,var(--vscode-editor-foreground,var(--fl-ink0))));
--fl-ground:var(--colab-primary-surface-color,var(--jp-layout-color1,var(--vscode-editor-background,var(--fl-ground0))));
--fl-ink0:#1c1f23;--fl-ground0:#fff;--fl-line:rgba(127,127,127,.55);--fl-soft:rgba(127,127,127,.14);--fl-key:#2f6fde;
color:var(--fl-ink);font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
@media (prefers-color-scheme:dark){:root:not([theme=light]) body:not([data-jp-theme-light]):not([data-vscode-theme-kind])
.fl{--fl-ink0:#e8eaed;--fl-ground0:#1f1f1f}}
html[theme=dark] .fl,[data-jp-theme-light=false] .fl,[data-vscode-theme-kind*=dark] .fl{--fl-ink0:#e8eaed;
--fl-ground0:#1f1f1f}
.fl h3,.fl h4{color:inherit;margin:.2em 0;font-weight:600;line-height:1.3}.fl h3{font-size:1.12em}.fl h4{font-size:1em}
.fl p{margin:.25em 0}.fl ul{margin:.25em 0;padding-left:1.2em}.fl .fl-dim,.fl-dim{opacity:.82}
.fl-card{border:1px solid var(--fl-line);border-radius:8px;padding:.55em .8em;background:var(--fl-ground);height:100%;
box-sizing:border-box}
.fl-chosen{border:3px solid var(--fl-key);padding:calc(.55em - 2px) calc(.8em - 2px)}
.fl-tick{font-weight:600;white-space:nowrap;margin-left:.4em}.fl-foot{margin-top:.4em;padding-top:.4em;
border-top:1px solid var(--fl-line)}
.fl-bar{height:14px;border:1px solid var(--fl-line);border-radius:7px;background:var(--fl-soft);overflow:hidden}
.fl-bar span{display:block;height:100%;background:var(--fl-at)}
.fl-hatched span{background:repeating-linear-gradient(45deg,var(--fl-at) 0 8px,var(--fl-on) 8px 10px)}
.fl-under{margin:.15em 0}.fl-wide{overflow-x:auto}
.fl table{border-collapse:collapse;color:inherit;font-size:13px;margin:.2em 0}.fl caption{text-align:left;padding:.2em 0}
.fl th,.fl td{border-bottom:1px solid var(--fl-line);padding:.25em .7em .25em 0;text-align:left;vertical-align:top;
background:none;color:inherit;max-width:34em}
.fl th{font-weight:600}.fl .fl-r{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
dl.fl.fl-facts{display:grid!important;grid-template-columns:max-content 1fr;gap:.1em .9em;margin:.2em 0}
dl.fl.fl-facts dt,dl.fl.fl-facts dd{display:block;float:none!important;width:auto!important;margin:0!important;
padding:0!important;font-weight:400!important}.fl-facts dt{opacity:.82}
.fl-fill,.fl-fill>.widget-html-content{height:100%}.fl-fold{text-align:left!important}
.fl-badge{display:inline-block;border-radius:1em;padding:0 .6em;color:var(--fl-on);background:var(--fl-at);font-size:13px;
font-weight:600;white-space:nowrap}
.fl-notice{display:flex;gap:.6em;border-left:4px solid;padding:.3em .7em;margin:.3em 0;background:var(--fl-soft)}
.fl-n-error{border-color:#c5362e}.fl-n-warning{border-color:#c58a00}.fl-n-note{border-color:var(--fl-key)}
.fl-sign{font-weight:700}
.fl-unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.fl-copy{display:flex;gap:.6em;align-items:flex-start}
.fl-copy code{flex:1;user-select:all;-webkit-user-select:all;white-space:pre-wrap;color:inherit;padding:.4em .6em;
font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace;background:var(--fl-soft);border-radius:5px}
.fl-copy button{font:inherit;font-size:13px;color:inherit;background:var(--fl-soft);border:1px solid var(--fl-line);
border-radius:5px;padding:.25em .8em;cursor:pointer}
.fl :focus-visible{outline:2px solid var(--fl-key);outline-offset:2px}
"""
    + _BADGES
)
