"""Writing the profile into this machine's own overrides, through framelane itself in a child process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_CODE = """
import json, sys
try:
    from framelane import tuned
except ImportError:
    print(json.dumps({"path": None}))
    raise SystemExit from None
name, why = sys.argv[1:]
there = tuned.path()
before = tuned.read() if there else None
new = bool(there) and not there.exists()
if before and before.values.get("profile") == name:
    print(json.dumps({"path": str(there), "new": False}))
elif there:
    print(json.dumps({"path": str(tuned.write({"profile": name}, {"profile": why})), "new": new}))
else:
    print(json.dumps({"path": None}))
"""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the file, where the installer made it; None where none was written, or it was there already.
        sentence: for the user.
    """

    path: Path | None
    sentence: str


def write_profile(name: str, why: str) -> Written:
    """Write the profile as this machine's own.

    Args:
        name: of the profile.
        why: the doctor's sentence.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CODE, name, why], capture_output=True, text=True, cwd=tempfile.gettempdir(),
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Written(None, f"Profile {name}: {why} It could not be written ({last}); every run chooses it anew.")
    told = json.loads(lines[-1])
    if told["path"] is None:
        return Written(None, f"Profile {name}: {why} Every run chooses it anew.")
    return Written(Path(told["path"]) if told["new"] else None, f"Profile {name}: {why} It stands in {told['path']}.")
