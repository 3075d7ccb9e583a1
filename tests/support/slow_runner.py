"""A batch on slow storage with a slow join: ``python -m support.slow_runner IN OUT EVENTS``.

Nothing is done otherwise than in ``framelane batch``; copies and joins only take long enough to be hit by a kill.
"""

from __future__ import annotations

import json
import sys

import framelane
import support.processors  # noqa: F401
from framelane.jobs import executors
from support.batches import FAST
from support.slow_storage import SlowFiles


def main(folder, out, events):
    executors.WORKER = "support.slow_worker"
    with open(events, "a", encoding="utf-8") as file:

        def tell(event):
            file.write(json.dumps(event) + "\n")
            file.flush()

        result = framelane.process_folder(
            folder, "slow_averager", output=out, profile="cpu", overrides=FAST, progress=tell, files=SlowFiles()
        )
    sys.exit(result.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
