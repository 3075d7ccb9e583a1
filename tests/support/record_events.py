"""Recordings of real events, for whatever shows them: ``cd tests && python -m support.record_events``.

A real session with real models; only the paths are made a hosted notebook's, so that they name no machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from framelane.notebook.session import Session
from support.batches import cut
from support.clips import WALKER

EVENTS = Path(__file__).parents[1] / "data" / "events"
SETTINGS = ["--mode", "fast", "--profile", "cpu", "--set", "engine.segment_seconds=1", "--set", "gif.enabled=false"]


def record(name, session, place, heard=lambda session, event: None):
    """Write what a session says, with the seconds since its start."""
    begun = time.monotonic()
    with session, (EVENTS / name).open("w", encoding="utf-8") as file:
        ended = False
        while not ended:
            for event in session.poll(1.0):
                line = json.dumps({"at": round(time.monotonic() - begun, 2), **event}, ensure_ascii=False)
                file.write(line.replace(str(place / "out"), "/content/results").replace(str(place), "/content") + "\n")
                heard(session, event)
                ended = event["event"] == "ended"


def two_clips(place):
    """Planned, begun, paused in the middle of the first clip, gone on with, finished."""
    paused = []

    def heard(session, event):
        if event["event"] == "segment" and not paused:
            paused.append(session.pause())
        elif event["event"] == "paused":
            time.sleep(2)
            session.resume()

    arguments = ["batch", "attention", str(place / "clips"), "-o", str(place / "out"), *SETTINGS]
    record("two_clips.jsonl", Session(arguments), place, heard)


def trouble(place):
    """A clip that is none, one whose worker is killed once, and a cancelled one."""
    (place / "clips" / "broken.mp4").write_bytes(b"no clip")
    killed = []

    def heard(session, event):
        if event["event"] == "segment" and not killed:
            children = Path(f"/proc/{session.pid}/task").glob("*/children")
            killed.extend(int(pid) for tasks in children for pid in tasks.read_text().split())
            os.kill(killed[0], signal.SIGKILL)
        elif event["event"] == "start" and event["job"].startswith("b"):
            session.cancel()

    arguments = ["batch", "attention", str(place / "clips"), "-o", str(place / "out"), "--restart", *SETTINGS]
    record("trouble.jsonl", Session(arguments), place, heard)


def main():
    EVENTS.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp())
    os.environ["FRAMELANE_CACHE"] = str(place / "cache")
    try:
        cut(place / "clips" / "a street.mp4", seconds=3, height=270)
        cut(place / "clips" / "b walker.mp4", WALKER, seconds=2, height=270)
        two_clips(place)
        trouble(place)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
