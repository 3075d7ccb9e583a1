"""Of ipywidgets only what 7.7.1 has, which Colab runs; and no thread that reaches a widget, which Colab would not draw."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import framelane.notebook

FILES = sorted(Path(framelane.notebook.__file__).parent.glob("*.py"))

# ipywidgets 7.7.1, without Output, whose live content flickers or stays empty on Colab.
CLASSES = """
    Accordion AppLayout Audio BoundedFloatText BoundedIntText Box Button ButtonStyle Checkbox ColorPicker Combobox
    DatePicker Dropdown FileUpload FloatLogSlider FloatProgress FloatRangeSlider FloatSlider FloatText GridBox
    GridspecLayout HBox HTML HTMLMath Image IntProgress IntRangeSlider IntSlider IntText Label Layout Password Play
    RadioButtons Select SelectMultiple SelectionRangeSlider SelectionSlider SliderStyle Tab Text Textarea ToggleButton
    ToggleButtons ToggleButtonsStyle TwoByTwoLayout VBox Valid Video Widget DOMWidget
"""
LAYOUT = """
    align_content align_items align_self border bottom display flex flex_flow grid_area grid_auto_columns grid_auto_flow
    grid_auto_rows grid_column grid_gap grid_row grid_template_areas grid_template_columns grid_template_rows height
    justify_content justify_items left margin max_height max_width min_height min_width object_fit object_position order
    overflow overflow_x overflow_y padding right top visibility width
"""


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def tree(request):
    return ast.parse(request.param.read_text(encoding="utf-8"))


def _imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], name.asname or name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], ""


def test_widgets_and_layouts_are_those_of_7_7(tree):
    for module, name in _imported(tree):
        assert module != "ipywidgets" or name in ("w", "ipywidgets"), (
            "import ipywidgets as w, so that this test sees it"
        )
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("w", "ipywidgets")
        ):
            assert node.attr in CLASSES.split()
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "Layout":
            assert {word.arg for word in node.keywords} <= set(LAYOUT.split())
        if isinstance(node, ast.Attribute) and getattr(node.value, "attr", "") == "layout":
            assert node.attr in LAYOUT.split()


def test_a_module_that_starts_a_thread_knows_no_widget(tree):
    threads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "Thread"]
    assert not threads or "ipywidgets" not in {module for module, _name in _imported(tree)}
