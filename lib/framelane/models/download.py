"""One file over HTTP: streamed to a ``.part``, taken up again where a transfer broke off, sized before it is believed.

The standard library does it, so proxies are those of ``HTTPS_PROXY`` and certificates those of the system. No password
and no token is ever sent.
"""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from framelane.errors import FramelaneError, chain
from framelane.models.files import Notify

_CHUNK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without an answer or a byte, for connecting and for each read."""
_PAUSES = (1.0, 3.0, 9.0)
"""Seconds before the second, third and fourth try; each goes on where the last one broke off."""
_RETRIED = frozenset({408, 416, 429, 500, 502, 503, 504})
_TOLD_ABOVE = 20_000_000
"""Bytes below which nobody needs to hear how far a download is."""


class _Broken(Exception):
    """A transfer that may be tried again."""


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class Job:
    """What to download.

    Attributes:
        name: of the model, for the command in error sentences.
        address: where the file is.
        size: its bytes, if known.
        command: what is run to try again; "" is to fetch the model by its name.
    """

    name: str
    address: str
    size: int | None = None
    command: str = ""

    @property
    def host(self) -> str:
        """Who sends it."""
        return urlsplit(self.address).netloc

    @property
    def retry(self) -> str:
        """What to do when it failed."""
        return f"run: {self.command or f'framelane models fetch {self.name}'}"


def download(job: Job, part: Path, notify: Notify | None = None) -> None:
    """Stream a file to ``part``; a broken transfer is tried up to four times, each going on from what is there.

    Args:
        job: what to download.
        part: where to; it must not exist yet.
        notify: called at each quarter of a large file.

    Raises:
        FramelaneError: there is no such file, no network, another size, or it broke off four times.
        OSError: ``part`` cannot be written.
    """
    for pause in (*_PAUSES, None):
        try:
            return _attempt(job, part, notify)
        except _Broken as error:
            if pause is None:
                raise FramelaneError(
                    f"The download of {job.name} from {job.host} broke off {len(_PAUSES) + 1} times, last at "
                    f"{_size(part):,} bytes ({error}); {job.retry}."
                ) from error
            time.sleep(pause)
    return None


def _attempt(job: Job, part: Path, notify: Notify | None) -> None:
    have = _size(part)
    headers = {"User-Agent": "framelane", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        opener = urllib.request.build_opener(_NoDowngrade)
        with opener.open(urllib.request.Request(job.address, headers=headers), timeout=_TIMEOUT) as answer:
            have = have if answer.status == 206 and _starts_at(answer, have) else 0
            total = _total(job, answer, have)
            _copy(job, answer, part, have, total, notify)
    except urllib.error.HTTPError as error:
        _refused(job, error, part)
    except urllib.error.URLError as error:
        _unreachable(job, error)
    except (TimeoutError, ConnectionError, HTTPException) as error:
        raise _Broken(chain(error)) from error


def _copy(job: Job, answer: HTTPResponse, part: Path, have: int, total: int | None, notify: Notify | None) -> None:
    told = 4 * have // total if total else 0
    with part.open("ab" if have else "wb") as sink:
        # A timeout while reading is an error of the network; one while writing would be an OSError of the disk.
        while block := answer.read(_CHUNK):
            sink.write(block)
            have += len(block)
            if total and have > total:
                raise FramelaneError(f"{job.host} sent more than the {total:,} bytes of {job.name}; {job.retry}.")
            if notify and total and total > _TOLD_ABOVE and (quarter := 4 * have // total) > told and quarter < 4:
                told = quarter
                notify(f"Fetching {job.name}: {25 * quarter} % of {total / 1e6:.0f} MB.")
        sink.flush()
        os.fsync(sink.fileno())
    if total is not None and have < total:
        raise _Broken(f"{have:,} of {total:,} bytes came")


def _total(job: Job, answer: HTTPResponse, have: int) -> int | None:
    """The whole file's bytes, as the server says; it must agree with what is known."""
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length and length.isdigit() else None
    if total is not None and job.size is not None and total != job.size:
        raise FramelaneError(
            f"The file of {job.name} at {job.address} has {total:,} bytes, expected are {job.size:,}: it is another file. "
            "A proxy or a login page may stand between; try from another network."
        )
    return total or job.size


def _starts_at(answer: HTTPResponse, have: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _refused(job: Job, error: urllib.error.HTTPError, part: Path) -> None:
    if error.code == 416:  # what is here already is not a beginning of the file
        part.unlink(missing_ok=True)
    if error.code in _RETRIED:
        raise _Broken(f"HTTP {error.code} {error.reason}") from error
    gone = "is not there any more" if error.code in (404, 410) else "was refused"
    raise FramelaneError(
        f"The file of {job.name} {gone}: {job.address} answered HTTP {error.code} {error.reason}. A newer framelane may "
        f"know where it is now; else {job.retry}."
    ) from error


def _unreachable(job: Job, error: urllib.error.URLError) -> None:
    reason = error.reason
    # No network answers at once; only what may pass is tried again.
    if isinstance(reason, TimeoutError | ConnectionResetError):
        raise _Broken(chain(reason)) from error
    offline = isinstance(reason, socket.gaierror | ConnectionRefusedError)
    said = chain(reason) if isinstance(reason, BaseException) else str(reason)
    raise FramelaneError(
        f"{job.name} cannot be fetched: {job.host} cannot be reached{' from this machine' if offline else ''} ({said}). "
        f"Check the network and any proxy (HTTPS_PROXY), then {job.retry}."
    ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
