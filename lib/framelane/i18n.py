"""What notebook users read, in their language: gettext catalogues, English where a sentence has no translation.

Sentences are written in English where they are said. The faces (``notebook``) translate what they show: their own texts
through :func:`gettext`, and whole sentences that the library made (errors, warnings, events) through
:func:`sentence`, which knows the library's templates. So nothing below a face needs to know of languages. The command line
is English, unless ``FRAMELANE_LANG`` names another language (:func:`asked_for`).
"""

from __future__ import annotations

import gettext as _gettext
import locale
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from framelane.sentences import Sentences

LANGUAGES = ("en", "es")
DOMAIN = "framelane"
VARIABLE = "FRAMELANE_LANG"
_CATALOGUES = Path(__file__).parent / "locales"
_chosen: str | None = None


def choose(language: str | None) -> str:
    """Use a language from here on, for example the browser's; None goes back to what the system says.

    Args:
        language: a tag such as ``"es"``, ``"es-MX"`` or ``"en_GB.UTF-8"``; one that there is no catalogue for is English.

    Returns:
        The language in use, one of :data:`LANGUAGES`.
    """
    global _chosen  # noqa: PLW0603  one reader, one language
    _chosen = None if language is None else known(language)
    return current()


def current(environment: Mapping[str, str] = os.environ) -> str:
    """The language in use: ``FRAMELANE_LANG``, else the one chosen, else the system's, else English."""
    if asked := environment.get(VARIABLE):
        return known(asked)
    if _chosen:
        return _chosen
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            return known(value.split(":")[0])
    return known(locale.getlocale()[0] or "en")


def asked_for(text: str) -> str:
    """A finished English text for a terminal: in the language of ``FRAMELANE_LANG``, English where that is not set.

    What the system's language is does not count here: scripts read a terminal's lines, too.
    """
    return sentence(text) if os.environ.get(VARIABLE) else text


def known(tag: str) -> str:
    """One of :data:`LANGUAGES` for a language tag; English where there is none of it."""
    short = tag.strip().lower().replace("_", "-").split("-")[0].split(".")[0]
    return short if short in LANGUAGES else "en"


def gettext(text: str) -> str:
    """A text of ours in the language in use."""
    return _catalogue(current()).gettext(text)


def sentence(text: str) -> str:
    """A finished English text of the library (an error, a warning, a reason, an event) in the language in use.

    Args:
        text: one sentence, several that were joined, or a part of one; what was put into it may be anything.

    Returns:
        The translation, with what was put in; what no template of the catalogue explains stays English.
    """
    return _sentences(current()).say(text)


@cache
def _sentences(language: str) -> Sentences:
    # The catalogue's own dictionary: gettext has no public way to list what it knows.
    known = getattr(_catalogue(language), "_catalog", {})
    return Sentences({source: target for source, target in known.items() if isinstance(source, str)})


@cache
def _catalogue(language: str) -> _gettext.NullTranslations:
    return _gettext.translation(DOMAIN, _CATALOGUES, languages=[language], fallback=True)
