"""google/colab/files.py: uploads land in the current folder; a name that is taken gets a number."""

import os
from pathlib import Path

from google.colab import _message, _standin

__all__ = ["download", "upload", "view"]


def upload():
    picked = _standin.told("uploads", [])
    if picked == "gone":
        raise _message.MessageError("TypeError: google.colab._files is undefined")
    found = {}
    for path in map(Path, picked):
        name, count = path.name, 0
        while os.path.lexists(name):
            count += 1
            name = f"{path.stem} ({count}){path.suffix}"
        found[path.name] = path.read_bytes()
        Path(name).write_bytes(found[path.name])
        print(f"Saving {path.name} to {name}")
    return found


def download(filename):
    if not os.path.exists(filename):
        raise FileNotFoundError(f"Cannot find file: {filename}")
    _standin.calls.append(("download", filename))


def view(filepath):
    if not os.path.exists(filepath):
        raise FileNotFoundError(f"Cannot find file: {filepath}")
