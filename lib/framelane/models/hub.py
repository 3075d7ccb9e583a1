"""Models of a Hugging Face repository: the hub says which digests its files have, and every file is held to them.

What was fetched is written down in a manifest in the cache: the commit, and the SHA-256 of each file. From then on the
manifest decides; the network is not asked again. Only safetensors and JSON are taken, no code of a repository is run.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from framelane.errors import FramelaneError, chain
from framelane.models import files
from framelane.models.catalog import Entry, Hub
from framelane.models.download import Job, download
from framelane.models.files import Notify, State

_SECONDS = 30.0
"""How long the hub may take to describe a repository."""
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")


@dataclass(frozen=True)
class Manifest:
    """What was fetched.

    Attributes:
        repo: owner/name.
        revision: as the catalogue named it.
        commit: what that was when it was fetched.
        sha256: of every file, by name.
    """

    repo: str
    revision: str
    commit: str
    sha256: dict[str, str]

    def fits(self, hub: Hub) -> bool:
        """Whether it is of what the catalogue names now."""
        return (self.repo, self.revision) == (hub.repo, hub.revision) and set(self.sha256) == set(hub.files)


def manifest(entry: Entry, hub: Hub) -> Manifest | None:
    """What is recorded of a model; None if nothing, or something else than the catalogue names now."""
    data = files.read_record(_record(entry))
    try:
        found = Manifest(**data) if data else None
    except TypeError:
        return None
    return found if found and isinstance(found.sha256, dict) and found.fits(hub) else None


def location(entry: Entry, known: Manifest) -> Path:
    """The folder of a model. The commit is part of its name, so that a newer one does not mix with it."""
    return files.folder() / f"{entry.name}-{known.commit[:12]}"


def state(entry: Entry, hub: Hub, fresh: bool = False) -> State:
    """Whether the folder is here and every file is the one that was recorded."""
    known = manifest(entry, hub)
    if known is None:
        return State.MISSING
    paths = {location(entry, known) / name: sha256 for name, sha256 in known.sha256.items()}
    if not all(path.is_file() for path in paths):
        return State.MISSING
    sound = all(files.digest(path, fresh) == sha256 for path, sha256 in paths.items())
    return State.PRESENT if sound else State.DAMAGED


def fetch(entry: Entry, hub: Hub, notify: Notify | None) -> Path:
    """Download the files, check each against what the hub publishes, and record them.

    Returns:
        The folder.

    Raises:
        FramelaneError: the hub cannot be reached, has no such repository or file, or sent something else.
    """
    commit, published = _published(entry, hub)
    if notify:
        notify(f"Fetching {entry.name} ({_megabytes(published)}) from {hub.repo} at {commit[:12]}.")
    known = Manifest(hub.repo, hub.revision, commit, {})
    target = location(entry, known)
    with files.fetching(entry.name) as temporary:
        for name, sibling in published.items():
            part = temporary / f"{name}.part"
            address = f"{_endpoint()}/{hub.repo}/resolve/{commit}/{quote(name)}"
            download(Job(entry.name, address, sibling.size), part, notify)
            known.sha256[name] = _checked(part, sibling, f"The file {name} of {hub.repo}")
        for name, sha256 in known.sha256.items():
            files.place(temporary / f"{name}.part", target / name, sha256)
        # Last, so that a fetch that was killed leaves a model that is missing, not one that is damaged.
        files.write_record(_record(entry), known.__dict__)
    return target


def _record(entry: Entry) -> Path:
    return files.folder() / f"{entry.name}.json"


def _endpoint() -> str:
    # Read here, not where huggingface_hub reads it: at its import.
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _published(entry: Entry, hub: Hub) -> tuple[str, dict[str, Any]]:
    """The commit behind a revision, and what the hub says of every wanted file."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    retry = f"run: framelane models fetch {entry.name}"
    try:
        api = HfApi(endpoint=_endpoint(), token=False)
        info = api.model_info(hub.repo, revision=hub.revision, files_metadata=True, timeout=_SECONDS, token=False)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FramelaneError(
            f"{_endpoint()} has no public repository {hub.repo} with the revision {hub.revision}, which {entry.name} "
            f"comes from ({chain(error)}). A newer framelane may know where it is now."
        ) from error
    except OfflineModeIsEnabled as error:
        raise FramelaneError(
            f"{entry.name} cannot be fetched: HF_HUB_OFFLINE forbids it. Unset that and {retry}."
        ) from error
    except Exception as error:  # the client's own, its HTTP library's and the socket's
        raise FramelaneError(
            f"{entry.name} cannot be fetched: {_endpoint()} does not answer ({chain(error)}). Check the network and any "
            f"proxy (HTTPS_PROXY, HF_ENDPOINT), then {retry}."
        ) from error
    there = {sibling.rfilename: sibling for sibling in info.siblings or []}
    _complete(entry, hub, there)
    return str(info.sha), {name: there[name] for name in hub.files}


def _complete(entry: Entry, hub: Hub, there: dict[str, Any]) -> None:
    missing = [name for name in hub.files if name not in there]
    pickles = sorted(name for name in there if name.endswith(_PICKLES))
    if hub.weights in missing and pickles:
        raise FramelaneError(
            f"{entry.name} is not fetched: {hub.repo} at {hub.revision} offers its weights only as {', '.join(pickles)}, "
            "a format that can run code when it is opened. framelane takes safetensors only."
        )
    if missing:
        raise FramelaneError(f"{entry.name} cannot be fetched: {hub.repo} at {hub.revision} has no {missing[0]}.")


def _checked(part: Path, sibling: Any, what: str) -> str:
    """The file's SHA-256, once it is what the hub says: by SHA-256 for large files, by the git object's name for others."""
    if sibling.lfs:
        return files.expect(part, sibling.lfs.sha256, what, "the one that the hub publishes")
    content = part.read_bytes()
    # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: SHA-1 of a header and the content.
    found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != sibling.blob_id:
        raise FramelaneError(
            f"{what} is not the one that the hub publishes: its git object is {found}, expected is {sibling.blob_id}."
        )
    return files.read_digest(part)


def _megabytes(published: dict[str, Any]) -> str:
    return f"{sum(sibling.size or 0 for sibling in published.values()) / 1e6:.0f} MB"
