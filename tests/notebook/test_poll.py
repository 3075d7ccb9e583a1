"""A click that comes while a cell runs is heard within the cell, on a real kernel; and the next cell waits its turn."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")

CELL = """
import time
import ipywidgets as w
from framelane.notebook.poll import ui_events
button = w.Button(description="Cancel")
heard = []
button.on_click(lambda _: heard.append(1))
print("ready", button.comm.comm_id, flush=True)
with ui_events() as poll:
    for _ in range(200):
        poll(10)
        if heard:
            break
        time.sleep(0.05)
print("heard", bool(heard), flush=True)
"""


@pytest.fixture
def kernel(tmp_path):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _said(client, wanted, seconds=60):
    """What the kernel prints, up to a line that begins as wanted."""
    deadline, text = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=seconds)
        if message["msg_type"] == "error":
            raise AssertionError("\n".join(message["content"]["traceback"]))
        if message["msg_type"] == "stream":
            text += message["content"]["text"]
        for line in text.splitlines():
            if line.startswith(wanted):
                return line
    raise AssertionError(f"{wanted!r} was not said in {seconds} s: {text}")


def test_a_click_is_heard_within_the_cell_and_the_next_cell_follows(kernel):
    kernel.execute(CELL)
    comm = _said(kernel, "ready ").split()[1]
    kernel.execute("print('next', flush=True)")
    click = {"comm_id": comm, "data": {"method": "custom", "content": {"event": "click"}}}
    kernel.shell_channel.send(kernel.session.msg("comm_msg", click))
    assert _said(kernel, "heard ") == "heard True"
    assert _said(kernel, "next") == "next"


def test_outside_a_kernel_there_is_nothing_to_hear():
    from framelane.notebook.poll import ui_events

    with ui_events() as poll:
        assert poll(10) is None
