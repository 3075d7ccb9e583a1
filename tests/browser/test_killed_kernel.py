"""A kernel that dies in mid-run takes the batch with it, and running the same cell again finishes the batch."""

from __future__ import annotations

import json
import os
import signal

import pytest

from framelane.video.clip import probe
from support.batches import FAST, cut, workplace  # noqa: F401
from support.browser import browser, environment, lab, open_notebook, picture, run_cell

CELL = """
import ipywidgets as w
from IPython.display import display
from framelane.notebook import session
from framelane.notebook.poll import ui_events

session.MODULE = "support.cli"  # the command with the test processors
bar, said = w.IntProgress(description="Clip"), w.HTML("begins")
display(w.VBox([bar, said]))
with session.Session({arguments!r}) as batch, ui_events() as poll:
    print("process", batch.pid)
    ended = False
    while not ended:
        poll(10)
        for event in batch.poll(0.2):
            if event["event"] == "start":
                print("begins at frame", event["resumed_at_frame"])
            if event["event"] == "segment":
                said.value = f"safe: {{event['frame']}}"
            if event["event"] == "progress":
                bar.max, bar.value = event["frames"], event["frame"]
            if event["event"] == "ended":
                ended = True
                said.value = f"ended with {{event['exit_code']}}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab3", "lab4"])
def test_the_same_cell_goes_on_after_the_kernel_was_killed(name, workplace):  # noqa: F811
    env = environment(name)
    clip = cut(workplace / "in" / "a.mp4", seconds=8)
    settings = [part for key, value in FAST.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    arguments = ["batch", "slow_copy", str(workplace / "in"), "-o", str(workplace / "out"), "--profile", "cpu",
                 "--budget", "none", *settings]  # fmt: skip
    variables = {name: os.environ[name] for name in ("FRAMELANE_CACHE", "PYTHONPATH")}
    with lab(env, workplace, **variables) as server, browser(server) as page:
        server.write("batch.ipynb", CELL.format(arguments=arguments))
        open_notebook(server, page, "batch.ipynb")
        run_cell(page)
        output = page.locator(".jp-OutputArea").first
        output.get_by_text("safe: ").wait_for()
        child = int(output.get_by_text("process ").inner_text().split("process ")[1].split()[0])
        server.kill_kernel()
        page.get_by_text("appears to have died").wait_for()
        picture(page, f"killed-{name}")
        page.get_by_role("button", name="Ok").click()
        _gone(page, child)
        assert not (workplace / "out" / "a.mp4").exists(), "it was finished before it could be killed"
        page.wait_for_timeout(2000)
        run_cell(page)
        output.get_by_text("ended with 0").wait_for()
        begun = int(output.get_by_text("begins at frame").inner_text().split("begins at frame ")[1].split()[0])
        assert begun > 0, "it began anew instead of going on"
        assert server.outside == []
    result = probe(workplace / "out" / "a.mp4")
    assert result.expected_frames == probe(clip).expected_frames


def _gone(page, pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        page.wait_for_timeout(200)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the batch has outlived its kernel")
