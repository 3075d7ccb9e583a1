"""What does the work is killed in mid-run, and so is the kernel: the batch goes on, and in the end it is finished."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest

from framelane.video.clip import probe
from support.batches import TESTS, cut, workplace  # noqa: F401
from support.browser import ROOT, browser, environment, lab
from support.clips import WALKER
from support.tour import Tour

CELL = """
from framelane import notebook

notebook.run("attention", input="in", output="out", mode="fast", countdown=2,
             settings={"engine.segment_seconds": 0.5, "gif.enabled": False})
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab4", "lab3"])
def test_a_killed_worker_is_a_sentence_and_a_killed_kernel_is_a_cell_to_run_again(name, workplace, monkeypatch):  # noqa: F811
    env = environment(name)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'lib'}{os.pathsep}{TESTS}")
    clips = [cut(workplace / "in" / f"{letter}.mp4", WALKER, seconds=4, height=270) for letter in "ab"]
    with lab(env, workplace, FRAMELANE_LANG="en") as server, browser(server) as page:
        tour = Tour(server, page, f"lost-{name}", cell=0)
        tour.open(server.write("lost.ipynb", CELL))
        tour.run_again()
        tour.moves()
        _kill_worker(server)
        tour.sees("A new one goes on from the finished segments.")
        tour.keep("worker")
        tour.moves()
        _kill_worker(server)
        tour.sees("It happened 2 times; the job is given up")
        assert tour.output.locator(".fl-badge.fl-b-failed").count()
        tour.sees("b.mp4 begins")
        tour.keep("failed")
        tour.beyond(60)
        server.kill_kernel()
        page.get_by_text("appears to have died").wait_for()
        tour.keep("kernel")
        page.get_by_role("button", name="Ok").click()
        page.wait_for_timeout(2000)
        tour.run_again()
        tour.sees("2 done. The results are in out.")
        tour.keep("finished")
        assert server.outside == []
    for clip in clips:
        assert probe(workplace / "out" / clip.name).expected_frames == probe(clip).expected_frames
        report = json.loads((workplace / "out" / clip.name).with_suffix(".report.json").read_text())
        assert report["resumed_at_frame"] > 0, f"{clip.name} began anew"


def _kill_worker(server):
    (kernel,) = server.kernels()
    found = [process for process in psutil.Process(kernel).children(recursive=True) if _works(process)]
    assert len(found) == 1, [process.cmdline() for process in found]
    found[0].send_signal(signal.SIGKILL)


def _works(process):
    try:
        return any("framelane.jobs.worker" in word or "support.worker" in word for word in process.cmdline())
    except psutil.Error:
        return False
