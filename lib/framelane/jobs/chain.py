"""The claims on one job in the order of succession, as their files name them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from framelane.jobs.owner import Owner


@dataclass(frozen=True)
class Link:
    """One claim of a chain.

    Attributes:
        name: of its file.
        token: what tells it from every other claim.
        owner: whose it is; None where the file is damaged, or not written to its end yet.
        since: when it was made, by its machine's clock; for people only.
    """

    name: str
    token: str
    owner: Owner | None
    since: str = ""


def next_name(identity: str, chain: list[Link]) -> str:
    """The name of the claim that comes after a chain."""
    return f"{identity}.{chain[-1].token}.json" if chain else f"{identity}.json"


def link_of(name: str, data: bytes) -> Link:
    """The claim that a file holds; damaged ones have a token of their content, so that a change shows."""
    try:
        known: Any = json.loads(data)
        token = known["token"]
        if not (isinstance(token, str) and len(token) == 16 and token.isalnum()):
            raise ValueError(token)
        return Link(name, token, Owner.from_json(known), str(known.get("since", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Link(name, f"x{hashlib.sha256(data).hexdigest()[:15]}", None)


def read_chain(identity: str, read: Callable[[str], bytes | None]) -> list[Link]:
    """The claims on a job; the last one holds.

    Args:
        identity: of the job.
        read: gives a file's content by name, None where there is none.
    """
    links: list[Link] = []
    while (name := next_name(identity, links)) not in {link.name for link in links}:
        data = read(name)
        if data is None:
            break
        links.append(link_of(name, data))
    return links
