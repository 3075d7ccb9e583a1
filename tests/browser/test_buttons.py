"""In a real browser: buttons are heard while a cell runs, and what it repaints is seen; on Colab's kernel and today's."""

from __future__ import annotations

import pytest

from support.browser import browser, environment, lab, open_notebook, picture, run_cell

CELL = """
import time
import ipywidgets as w
from IPython.display import display
from framelane.notebook.poll import ui_events

bar, said, stop = w.IntProgress(description="Done", max=300), w.HTML("begins"), w.Button(description="Cancel")
heard = []
stop.on_click(lambda _: heard.append(bar.value))
display(w.VBox([bar, said, stop]))
with ui_events() as poll:
    for step in range(300):
        poll(10)
        bar.value = step
        said.value = f"step {step}"
        if heard:
            break
        time.sleep(0.1)
said.value = f"heard in time: {bool(heard)}"
print("versions", w.__version__)
"""


@pytest.mark.parametrize(("name", "widgets"), [("lab3", "7.7.1"), ("lab4", "8.")])
def test_a_button_is_heard_while_the_cell_runs(name, widgets, tmp_path):
    env = environment(name)
    with lab(env, tmp_path) as server, browser(server) as page:
        server.write("buttons.ipynb", CELL, "print('the next cell has run')")
        open_notebook(server, page, "buttons.ipynb")
        run_cell(page)
        output = page.locator(".jp-OutputArea").first
        output.get_by_text("step ").wait_for()
        first = output.inner_text()
        page.wait_for_timeout(700)
        assert output.inner_text() != first, "what the cell repaints is not seen"
        run_cell(page, 1)  # queued behind the cell that runs
        output.get_by_role("button", name="Cancel").click()
        output.get_by_text("heard in time: True").wait_for()
        output.get_by_text(f"versions {widgets}").wait_for()
        page.get_by_text("the next cell has run", exact=True).wait_for()
        picture(page, f"buttons-{name}")
        assert server.outside == []


def test_what_is_outside_is_refused_and_counted(tmp_path):
    with lab(environment("lab4"), tmp_path) as server, browser(server) as page:
        page.goto("about:blank")
        answer = "() => fetch('https://example.org/x.js').then(() => 'came', () => 'refused')"
        assert page.evaluate(answer) == "refused"
        assert server.outside == ["https://example.org/x.js"]
