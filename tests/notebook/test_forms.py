"""The form of all settings, without a front end: generated from the models, validated by the loader."""

from __future__ import annotations

import typing

import ipywidgets as w
import pytest
from pydantic import BaseModel

from framelane.notebook import fields
from framelane.notebook.forms import APART, Form, section_title
from framelane.schema import Settings
from framelane.settings import flatten, load, names

BASE = flatten(load(mode="balanced").settings.model_dump())


def leaves(model, prefix=""):
    """Every field of the models, found anew: not by what the form itself uses."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info


FIELDS = dict(leaves(Settings))
KEYS = sorted(set(FIELDS) - set(APART))


@pytest.fixture
def form():
    return Form()


def test_every_field_of_every_section_has_a_control(form):
    assert sorted(form.settings) == KEYS
    assert set(APART) == {key for key in FIELDS if "." not in key}  # these have controls of their own
    for fold in form.folds.values():
        fold.open()
    shown = {row.control for row in map(form.row, KEYS)}
    found = set(walk(form.widget))
    assert shown <= found


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


@pytest.mark.parametrize("key", KEYS)
def test_the_control_fits_the_field(form, key):
    """Its kind is that of the model, its name and description are there, and it shows the value in use."""
    info, control = FIELDS[key], form.row(key).control
    assert control.description == key.partition(".")[2]
    assert info.description[:20] in form.row(key)._help.value.replace("&#x27;", "'")
    plain = info.annotation
    if typing.get_origin(plain) is typing.Literal:
        assert isinstance(control, w.Dropdown)
        assert tuple(control.options) == typing.get_args(plain)
    elif typing.get_origin(next(iter(typing.get_args(plain)), None)) is typing.Literal:  # or nothing of these
        assert tuple(control.options) == ("", *typing.get_args(typing.get_args(plain)[0]))
    elif plain is bool:
        assert isinstance(control, w.Checkbox)
    elif plain in (int, float):
        bounds = {type(rule).__name__: rule for rule in info.metadata}
        ends = [bounds.get("Ge") or bounds.get("Gt"), bounds.get("Le") or bounds.get("Lt")]
        kinds = (w.BoundedIntText, w.BoundedFloatText) if all(ends) else (w.IntText, w.FloatText)
        assert type(control) is kinds[plain is float]
        if all(ends):
            low, high = (
                getattr(end, "ge", getattr(end, "gt", getattr(end, "le", getattr(end, "lt", None)))) for end in ends
            )
            assert (control.min, control.max) == (low, high)
            assert f"{low:g}" in form.settings[key].allowed()
            assert f"{high:g}" in form.settings[key].allowed()
    else:
        assert isinstance(control, w.Text | w.ColorPicker)
    setting = form.settings[key]
    shown = setting.value(control.value) if isinstance(control.value, str) else control.value
    assert shown == BASE[key]


def test_nothing_is_an_override_until_it_is_changed(form):
    for fold in form.folds.values():
        fold.open()
    assert form.overrides() == {}
    assert form.problems == {}


CHANGES = {
    "attention.method": ("rollout", "rollout"),
    "attention.window": ("16", 16),
    "attention.classes": ("person,  dog", ["person", "dog"]),
    "attention.colour": ("#00ff00", "#00ff00"),
    "attention.target": ("true", "true"),
    "gif.enabled": (False, False),
    "gif.fps": (12.5, 12.5),
    "engine.min_free_mb": (100, 100),
    "hardware.cpu_affinity": ("0, 1", [0, 1]),
    "guard.ram.ladder": ("emergency, pause", ["emergency", "pause"]),
    "faceswap.pairs": ("[{source: a.png, target: 12.5#0}]", [{"source": "a.png", "target": "12.5#0"}]),
    "faceswap.source": ("ada.png", "ada.png"),
}


def test_what_is_changed_becomes_an_override_that_the_loader_takes(form):
    for key, (typed, _value) in CHANGES.items():
        form.row(key).control.value = typed
    wanted = {key: value for key, (_typed, value) in CHANGES.items()}
    assert form.overrides() == wanted
    assert form.problems == {}
    loaded = flatten(load(mode="balanced", overrides=form.overrides()).settings.model_dump())
    assert {key: loaded[key] for key in wanted} == wanted


def test_a_value_that_is_changed_back_is_no_override(form):
    control = form.row("gif.fps").control
    control.value = 12.5
    control.value = BASE["gif.fps"]
    assert form.overrides() == {}


def test_reset_goes_back(form):
    for key, (typed, _value) in CHANGES.items():
        form.row(key).control.value = typed
    form.row("gif.fps")._reset.click()
    assert "gif.fps" not in form.overrides()
    assert form.row("gif.fps").control.value == BASE["gif.fps"]
    form._reset.click()
    assert form.overrides() == {}
    for key in CHANGES:
        setting, control = form.settings[key], form.row(key).control
        assert (setting.value(control.value) if isinstance(control.value, str) else control.value) == BASE[key]
    assert form._reset.disabled


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("attention.window", "soon"), ("attention.window", "1000"), ("attention.window", "2.5"), ("gif.seconds", 0.0),
        ("engine.min_free_mb", -1), ("attention.colour", "red"), ("faceswap.pairs", "[{source: a}]"),
        ("faceswap.pairs", "[{"), ("hardware.cpu_affinity", "0, x"), ("guard.ram.ladder", "jump"), ("faceswap.label", "x"),
    ],
)  # fmt: skip
def test_bad_input_gets_the_loaders_sentence_beside_it(form, key, typed):
    form.row(key).control.value = typed
    assert list(form.problems) == [key]
    assert form.problems[key].startswith(key.rpartition(".")[0] if key == "faceswap.pairs" else key)
    assert 'role="alert"' in form.row(key)._help.value
    form.reset(key)
    assert form.problems == {}
    assert 'role="alert"' not in form.row(key)._help.value


def test_a_rule_over_two_settings_is_said_beside_the_one_that_was_changed(form):
    form.row("guard.vram.enter").control.value = 50
    assert list(form.problems) == ["guard.vram.enter"]
    form.row("guard.vram.leave").control.value = 40
    assert form.problems == {}


def test_what_nobody_changed_follows_mode_and_profile(form):
    form.row("attention.alpha").control.value = 0.5
    form.row("attention.sample_fps")
    form.rebase("quality", "auto", "t4")
    assert form.row("attention.sample_fps").control.value == 8
    assert form.row("hardware.batch_size").control.value == 16
    assert form.overrides() == {"attention.alpha": 0.5}
    assert "mode quality" in form.row("attention.sample_fps")._help.value
    assert "profile t4" in form.row("hardware.batch_size")._help.value


def test_an_own_value_survives_a_mode_that_says_the_same(form):
    form.row("attention.sample_fps").control.value = 8
    form.rebase("quality", "cpu")
    assert form.overrides() == {}
    form.rebase("fast", "cpu")
    assert form.overrides() == {"attention.sample_fps": 8}


def test_every_value_of_every_mode_and_profile_can_be_shown(form):
    for fold in form.folds.values():
        fold.open()
    for mode in names("modes"):
        for profile in names("profiles"):
            form.rebase(mode, profile)
            base = flatten(load(mode=mode, profile=profile).settings.model_dump())
            for key in KEYS:
                setting, control = form.settings[key], form.row(key).control
                assert (setting.value(control.value) if isinstance(control.value, str) else control.value) == base[key]
    assert form.overrides() == {}


def test_the_search_looks_at_names_and_descriptions(form):
    attention = ["attention.alpha", "attention.object_alpha", "attention.object_shadow"]
    assert form.find("opacity") == [*attention, "pose.opacity", "depth.alpha"]
    assert form.find("gif FPS") == ["gif.fps"]
    form._search.value = "opacity"
    assert [len(form._hits.children), form.folds["gif"].widget.layout.display] == [5, "none"]
    form._search.value = "<b>"
    assert form._hits.children == ()
    form._search.value = ""
    assert form.folds["gif"].widget.layout.display == ""


def test_hidden_sections_are_neither_shown_nor_given(form):
    form.set("faceswap.blend", 0.5)
    form.hide(["faceswap"])
    assert form.overrides() == {}
    assert form.folds["faceswap"].widget.layout.display == "none"
    assert not [key for key in form.find("face") if key.startswith("faceswap.")]


def test_controls_are_made_when_they_are_first_shown(form):
    assert form._rows == {}
    form.folds["gif"].open()
    assert {row.split(".")[0] for row in form._rows} == {"gif"}


def test_any_touch_is_told():
    told = []
    form = Form(touched=lambda: told.append(1))
    for touch in (
        form.folds["gif"]._button.click, lambda: setattr(form.row("gif.fps").control, "value", 9.0),
        form.row("gif.fps")._reset.click, lambda: setattr(form._search, "value", "x"), form._reset.click,
    ):  # fmt: skip
        before = len(told)
        touch()
        assert len(told) > before
    form.rebase("fast", "t4")  # not by somebody
    assert len(told) == before + 1


def test_a_section_without_a_title_says_what_its_model_is():
    assert section_title("gif") != "gif"
    described = fields.describe("x.y", Settings.model_fields["mode"])
    assert described.options == ("fast", "balanced", "quality")
