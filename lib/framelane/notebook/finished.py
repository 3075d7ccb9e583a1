"""What lies in an output folder, of this session or an earlier one: by records, reports and page; no video is opened."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from framelane.errors import UsageError
from framelane.i18n import gettext as _
from framelane.i18n import sentence
from framelane.jobs.ledger import STATE, JobRecord
from framelane.report import gif_path, report_path, sheet_path

MOST = 500
"""Results that are read; of more, the newest."""
_PAGE, _MARK = "index.html", '<meta name="generator" content="framelane">'
_LARGEST_PAGE, _LARGEST_REPORT = 64 << 20, 32 << 20
_REPORT = ".report.json"
_MOST_LOOKED_AT = 20_000
_KEPT = ("frames", "seconds", "device", "profile", "mode", "stage_ms", "encoder", "gif", "sheet")


@dataclass(frozen=True)
class Result:
    """One finished clip.

    Attributes:
        name: its path in the output folder.
        output: the video.
        card: what the batch's page shows: ``frames``, ``stage_ms``, ``speeds``, ``shares``, ``tracks``, ``notes`` and
            ``sheet``, a JPEG data URI; some of it may be missing.
    """

    name: str
    output: Path
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def report(self) -> dict[str, Any]:
        """The report beside it; empty where there is none that can be read."""
        return _json(report_path(self.output))

    def links(self) -> dict[str, Path]:
        """Files that belong to it, by what they are."""
        found = {_("video"): self.output, _("report"): report_path(self.output)}
        if self.card.get("gif"):
            found[_("GIF")] = gif_path(self.output)
        if self.card.get("worst"):
            found[_("worst frames")] = sheet_path(self.output)
        return found


@dataclass(frozen=True)
class Finished:
    """An output folder.

    Attributes:
        folder: the folder.
        results: by name.
        failed: name and reason, as the page of the newest batch has them.
        left_out: results beyond the newest :data:`MOST`.
    """

    folder: Path
    results: tuple[Result, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    left_out: int = 0

    @property
    def page(self) -> Path | None:
        """The batch's page; None where there is none."""
        page = self.folder / _PAGE
        return page if _is_file(page) else None


def look(folder: Path) -> Finished:
    """Read an output folder.

    Raises:
        UsageError: there is no such folder, or it cannot be read.
    """
    try:
        os.listdir(folder)
    except (OSError, ValueError) as error:  # a NUL is no OSError
        why = sentence(getattr(error, "strerror", None) or str(error))
        raise UsageError(_("There are no results in {folder} ({why}).").format(folder=folder, why=why)) from error
    found: dict[str, Result] = {}
    records, more = _newest(folder / STATE / "records", ".json")
    for path in records:
        record = JobRecord.from_bytes(_bytes(path), path.stem)
        if record and _is_file(folder / record.output):
            found[record.output] = Result(record.output, folder / record.output, record.details)
    for path in _reports(folder):
        if len(found) >= MOST:
            break
        if (made := _of_report(folder, path)) is not None:
            found.setdefault(made.name, made)
    results = tuple(found[name] for name in sorted(found))
    return Finished(folder, results, tuple(_failures(folder / _PAGE)), more)


def _newest(folder: Path, suffix: str) -> tuple[list[Path], int]:
    """The newest files of a folder, and how many older ones are left out."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime, entry.path) for entry in entries if entry.name.endswith(suffix)]
    except OSError:
        return [], 0
    found.sort(reverse=True)
    return [Path(path) for _at, path in found[:MOST]], max(0, len(found) - MOST)


def _reports(folder: Path) -> Iterator[Path]:
    looked = 0
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            looked += 1
            if looked > _MOST_LOOKED_AT:
                return
            if name.endswith(_REPORT):
                yield Path(place) / name


def _of_report(folder: Path, path: Path) -> Result | None:
    """What ``framelane run`` has left: its report is the card, without pictures."""
    report = _json(path)
    name = Path(str(report.get("output") or "")).name
    if not name or report_path(output := path.with_name(name)) != path or not _is_file(output):
        return None
    card = {key: report.get(key) for key in _KEPT}
    card["worst"], card["sheet"] = bool(card["sheet"]), ""  # a report says only whether there is a picture
    card["notes"] = [*(report.get("degradations") or []), *(report.get("warnings") or [])]
    metrics = report.get("metrics")
    card["shares"] = metrics.get("share_per_class") if isinstance(metrics, dict) else None
    return Result(output.relative_to(folder).as_posix(), output, card)


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        data = json.loads(_bytes(path) or b"{}")
        return data if isinstance(data, dict) else {}
    return {}


def _bytes(path: Path, most: int = _LARGEST_REPORT) -> bytes:
    with contextlib.suppress(OSError):
        if path.stat().st_size <= most:
            return path.read_bytes()
    return b""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


# -- the page ------------------------------------------------------------------------------------------------------------


def _failures(page: Path) -> list[tuple[str, str]]:
    text = _bytes(page, _LARGEST_PAGE).decode("utf-8", errors="replace")
    if _MARK not in text[:2000]:
        return []
    reader = _Rows()
    reader.feed(text)
    return reader.failed


class _Rows(HTMLParser):
    """Name and reason of the failed rows of a page: the state, the name, and the last paragraph but those of figures."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[tuple[str, str]] = []
        self._inside = self._paragraph = self._dim = self._state = False
        self._name: list[str] = []
        self._reason: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        kind = dict(attributes).get("class") or ""
        if tag == "span" and kind == "state failed":
            self._inside, self._state, self._name, self._reason = True, True, [], []
        elif self._inside and tag == "p":
            self._paragraph, self._dim = True, kind == "dim"

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._state = False
        elif tag == "p":
            self._paragraph = False
        elif tag == "td" and self._inside:
            self.failed.append(("".join(self._name).strip(), "".join(self._reason).strip()))
            self._inside = False

    def handle_data(self, data: str) -> None:
        if not self._inside or self._state:
            return
        if not self._paragraph:
            self._name.append(data)
        elif not self._dim:
            self._reason.append(data)
