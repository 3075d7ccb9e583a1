"""The checks of accessibility find what is wrong, and nothing else: on pages whose faults are known."""

from __future__ import annotations

import pytest

from support.accessible import nameless, pale, reached_by_tab
from support.browser import plain_page

GOOD = """<main style="background:#fff;color:#333"><label>Name <input></label>
<button>Go</button><button aria-label="Stop">■</button>
<input title="Folder"><img alt="four frames" src="data:,">
<svg aria-label="load"><text y="10" fill="#333">GPU</text></svg>
<p style="background:#222;color:#eee">dark</p>
<p style="font-size:30px;color:#888">large</p><select aria-label="Mode"></select>
<button disabled style="color:#bbb">not now</button><img alt="" src="data:,"></main>"""


@pytest.fixture(scope="module")
def page():
    with plain_page() as found:
        yield found


def _show(page, body):
    page.set_content(f"<body>{body}</body>")
    return page.locator("body")


def test_a_good_page_has_no_faults(page):
    root = _show(page, GOOD)
    assert nameless(root) == []
    assert pale(root) == []


@pytest.mark.parametrize("body", [
    "<input>", "<button></button>", "<button> <i class=icon></i></button>", "<select><option>a</select>",
    "<textarea></textarea>",
    "<img src='data:,' width=9 height=9>", "<svg width=9 height=9><rect width=9 height=9 /></svg>",
    "<a href='#' style='display:block'></a>",
    "<div role=slider style='width:9px;height:9px'></div>", "<input aria-labelledby=nowhere>",
])  # fmt: skip
def test_what_has_no_name_is_found(page, body):
    assert len(nameless(_show(page, body))) == 1


@pytest.mark.parametrize(("body", "ratio"), [
    ("<p style='color:#777;background:#fff'>x</p>", "4.48:1"),
    ("<div style='background:#000'><p style='color:#555'>x</p></div>", "2.82:1"),
    ("<p style='color:#000;opacity:.4'>x</p>", "2.85:1"),
    ("<p style='color:rgba(0,0,0,.5)'>x</p>", "4.00:1"),
    ("<p style='color:#999;font-size:30px'>x</p>", "2.85:1"),
    ("<svg><text y=20 fill='#ccc'>x</text></svg>", "1.61:1"),
])  # fmt: skip
def test_what_is_too_pale_is_found_with_its_ratio(page, body, ratio):
    assert pale(_show(page, body)) == [f'{ratio} "x"']


def test_what_tab_comes_to_is_told(page):
    _show(page, GOOD)
    page.keyboard.press("Tab")
    assert reached_by_tab(page) == ["Name", "Go", "Stop", "Folder", "Mode"]
