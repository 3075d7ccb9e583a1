"""Settings as people write them: YAML files, and ``key=value``.

YAML 1.1 makes other things of some words: ``16:9`` is the number 969, ``on`` is true, ``1.4`` is no text. Which setting it
stands for is known, so a setting that is text gets what was written. ``#`` begins a comment: a colour without quotes is
nothing at all, and that is said.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from framelane import allowed
from framelane.errors import UsageError
from framelane.schema import Settings, fields

_NULL, _TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"
_LOST_COLOUR = re.compile(r"[ \t]*(#[0-9a-fA-F]{6})\b")
_LISTED = re.compile(r"\s*,\s*")


def parse_assignment(text: str) -> tuple[str, Any]:
    """``"gif.max_mb=5"`` to ``("gif.max_mb", 5)``; the value is read as YAML, that of a setting which is text as it stands.

    Raises:
        UsageError: there is no ``=``, or the value is not YAML.
    """
    key, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not key:
        raise UsageError(
            f"--set {text!r} is not of the form section.key=value, for example --set attention.method=rollout."
        )
    if value.startswith("#"):  # a colour such as #1a5cff would be a comment in YAML
        return key, value
    try:
        return key, _text_of(value) if _kinds().get(key) == "text" else yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value {value!r} cannot be read.") from error


def _text_of(value: str) -> str | None:
    """A text as it stands: less its quotes, and None where it says null."""
    try:
        node = yaml.compose(value, yaml.SafeLoader)
    except yaml.YAMLError:
        return value
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
        return None
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.style else value


def as_list(key: str, value: Any) -> Any:
    """One word, or words with commas between, as a list where a list of texts is wanted: ``person`` is ``[person]``."""
    if isinstance(value, str) and _kinds().get(key) == "texts":
        return [word for word in _LISTED.split(value.strip()) if word]
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of settings as a nested dict.

    Raises:
        UsageError: the file is missing, unreadable, or no mapping; or a colour in it lacks its quotes.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            _keep_texts(node, "", text, path)
        data = None if node is None else _built(node)
    except FileNotFoundError as error:
        raise UsageError(f"The settings file {path} does not exist.") from error
    except IsADirectoryError as error:
        raise UsageError(f"The settings file {path} is a folder; name a YAML file in it.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"The settings file {path} cannot be read as YAML: {first}.") from error
    if data is None:
        return {}
    try:
        json.dumps(data, default=str, skipkeys=True)
    except ValueError as error:  # found by the encoder: nothing else here follows an alias
        raise UsageError(
            f"The settings file {path} contains itself: an alias (*) stands inside its anchor (&)."
        ) from error
    if isinstance(data, dict):
        data = {key: {} if value is None and key in Settings.model_fields else value for key, value in data.items()}
    if not isinstance(data, dict):
        raise UsageError(
            f"The settings file {path} must hold sections such as 'attention:', not a {type(data).__name__}."
        )
    return data


@cache
def _kinds() -> dict[str, str]:
    return {key: allowed.kind(info) for key, info in fields().items()}


@cache
def _sections() -> set[str]:
    parts = [key.split(".") for key in _kinds()]
    return {".".join(path[:end]) for path in parts for end in range(1, len(path))}


def _built(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _keep_texts(mapping: yaml.MappingNode, prefix: str, text: str, path: Path) -> None:
    """Settings that are text become the text that was written, wherever YAML would make something else of it."""

    def kept(name: yaml.Node, node: yaml.Node) -> yaml.Node:
        key = f"{prefix}{name.value}" if isinstance(name, yaml.ScalarNode) else ""
        if isinstance(node, yaml.MappingNode) and key in _sections():
            _keep_texts(node, f"{key}.", text, path)
        elif (kind := _kinds().get(key, "other")) != "other":
            _refuse_lost_colour(key, node, text, path)
            return _as_text(node, kind)
        return node

    mapping.value = [(name, kept(name, node)) for name, node in mapping.value]


def _refuse_lost_colour(key: str, node: yaml.Node, text: str, path: Path) -> None:
    if isinstance(node, yaml.ScalarNode) and node.tag == _NULL and not node.value:
        after = text[node.start_mark.index :].split("\n", 1)[0]
        if lost := _LOST_COLOUR.match(after):
            raise UsageError(
                f"{key} (from {path}) is empty, for # begins a comment in YAML: put the colour in quotes, "
                f'as in "{lost[1]}".'
            )


def _as_text(node: yaml.Node, kind: str) -> yaml.Node:
    """A plain word or number as text; of a list of texts, each of them."""
    if isinstance(node, yaml.SequenceNode) and kind == "texts":
        node.value = [_as_text(each, "text") for each in node.value]
    elif isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
        node.tag = _TEXT
    return node
