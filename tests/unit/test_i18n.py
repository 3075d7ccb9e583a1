"""What people read exists in every language: found in the sources, translated, and said with what was put in."""

from __future__ import annotations

import re
from functools import cache

import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framelane import i18n
from framelane.engine.rungs import Action
from framelane.errors import UsageError
from framelane.fallback import sentence as fallback_sentence
from framelane.sentences import Sentences
from framelane.settings import load
from support import messages

PLACEHOLDER = re.compile(r"\{\w*\}")
LANGUAGES = [language for language in i18n.LANGUAGES if language != "en"]


@pytest.fixture
def spanish(monkeypatch):
    monkeypatch.setenv("FRAMELANE_LANG", "es")


@pytest.fixture(params=LANGUAGES)
def catalogue(request):
    found = polib.pofile(str(messages.catalogue(request.param)))
    found[:] = [entry for entry in found if not entry.obsolete]
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_the_sources_is_translated_and_nothing_else(language):
    fresh = messages.update(language)
    missing = [entry.msgid for entry in fresh.untranslated_entries()]
    kept = {entry.msgid for entry in polib.pofile(str(messages.catalogue(language))) if not entry.obsolete}
    gone = sorted(kept - {entry.msgid for entry in fresh if not entry.obsolete})
    assert not missing, f"{len(missing)} texts have no {language}; run make messages:\n" + "\n".join(map(repr, missing))
    assert not gone, "nobody says these any more; run make messages:\n" + "\n".join(map(repr, gone))


def test_the_built_catalogue_is_the_source(catalogue):
    path = messages.catalogue(catalogue.metadata["Language"])
    assert path.with_suffix(".mo").read_bytes() == messages.compiled(catalogue), "run make messages"


def test_a_translation_holds_what_the_text_holds(catalogue):
    for entry in catalogue:
        assert set(PLACEHOLDER.findall(entry.msgid)) == set(PLACEHOLDER.findall(entry.msgstr)), entry.msgid
        code = r"--[a-z-]+|\b[a-z]+\.[a-z_.]+[a-z]\b(?==)|framelane models [a-z]+|pip install [\w.'\[\]-]+"
        for command in set(re.findall(code, entry.msgid)) - {"section.key"}:  # what is typed is typed the same
            assert command in entry.msgstr, entry.msgid
        assert entry.msgid[-1:].isalnum() == entry.msgstr[-1:].isalnum() or entry.msgid[-1] not in ".:,;", entry.msgid
        assert not re.search(r"\b(tú|usted|ustedes|tu|tus|vosotros)\b", entry.msgstr, re.IGNORECASE), entry.msgstr


def test_every_template_is_recognised_whatever_was_put_in(catalogue, spanish):
    """Put in are things without letters, so that only the template can be what is recognised."""
    for entry in catalogue:
        values = {mark: f"{7 + n}‹{n}›" for n, mark in enumerate(dict.fromkeys(PLACEHOLDER.findall(entry.msgid)))}
        said, meant = entry.msgid, entry.msgstr
        if any(not mark[1:-1].isdigit() for mark in values):
            continue  # named placeholders are filled after the translation
        for mark, value in values.items():
            said, meant = said.replace(mark, value), meant.replace(mark, value)
        assert i18n.sentence(said) == meant, entry.msgid


def test_few_templates_are_tried_for_a_sentence():
    tried = [len(list(whole()._candidates(text))) for text in messages.found()]
    assert max(tried) < 120
    assert sum(tried) / len(tried) < 25


@pytest.mark.parametrize("kind", ["batch", "height", "stride", "pace", "pause", "emergency", "stop"])
@pytest.mark.parametrize("value", [0.0, 1.0, 2.0, 0.4])
def test_what_the_guard_says_is_said_in_spanish(kind, value, spanish):
    said = i18n.sentence(Action("ram", kind, value, True, "RAM in use: 91 % for 12 s").sentence)
    assert "RAM en uso: 91 %" in said
    english = {"the", "batch", "size", "work", "goes", "on", "next", "frames", "job", "memory", "for", "every"}
    assert not english & set(re.findall(r"[a-z,]+", said.lower())), said


def test_an_error_of_the_settings_is_said_in_spanish(spanish):
    with pytest.raises(UsageError) as error:
        load(overrides={"attention.alpha": 7})
    assert i18n.sentence(str(error.value)) == (
        "attention.alpha: 7 (de la línea de órdenes) no se admite: debe ser menor o igual que 1."
    )
    with pytest.raises(UsageError) as error:
        load(overrides={"attention.alhpa": 7})
    assert i18n.sentence(str(error.value)) == (
        "Ajuste desconocido 'attention.alhpa' (de la línea de órdenes); la clave válida más parecida es attention.alpha."
    )


def test_sentences_that_were_joined_are_taken_apart(spanish):
    said = fallback_sentence({"hardware.device": "cpu"}, "Memory ran out (CUDA out of memory).")
    assert i18n.sentence(said) == "Se agotó la memoria (CUDA out of memory). El clip sigue en la CPU."
    said = (
        "The clip's pixels are yuv444p; the output's are yuv420p. 3 damaged audio packets were left out. Xyzzy stays."
    )
    assert i18n.sentence(said) == (
        "Los píxeles del clip son yuv444p; los de la salida son yuv420p. Se dejaron fuera 3 paquetes de audio dañados. "
        "Xyzzy stays."
    )


def test_a_template_without_words_and_a_text_without_letters_are_no_trouble():
    sentences = Sentences({"{0}MiB / {1}MiB": "{0} MiB / {1} MiB", "Done.": "Hecho."})
    assert [sentences.say(text) for text in (".", ")", "Xyzzy", "Done. .", "1MiB / 2MiB")] == [
        ".", ")", "Xyzzy", "Hecho. .", "1 MiB / 2 MiB",
    ]  # fmt: skip


def test_an_ending_that_is_added_with_its_mark_is_found(spanish):
    said = "The worker process was ended by signal 9; the system does that when memory runs out."
    assert (
        i18n.sentence(said)
        == "El proceso de trabajo lo terminó la señal 9; el sistema lo hace cuando se agota la memoria."
    )
    said = "frame 12/300 at 4.5 fps, 33 s left (ms a frame: decode 1.2 process 33.0 encode 4.4)"
    assert i18n.sentence(said) == (
        "fotograma 12/300 a 4.5 fotogramas/s, quedan 33 s (ms por fotograma: decode 1.2 process 33.0 encode 4.4)"
    )


def test_a_reason_within_a_sentence_is_translated_and_a_path_is_not(spanish):
    said = "No NVIDIA driver answers on this machine (OSError: No such file or directory). Models run on the CPU."
    assert i18n.sentence(said) == (
        "En esta máquina no responde ningún controlador de NVIDIA (OSError: No existe ese archivo o carpeta). "
        "Los modelos se ejecutan en la CPU."
    )
    assert i18n.sentence("The clip /videos/is a folder/done.mp4 does not exist.") == (
        "El clip /videos/is a folder/done.mp4 no existe."
    )


@settings(deadline=None, max_examples=60)
@given(
    st.text(max_size=80)
    | st.sampled_from(sorted(messages.ELSEWHERE))
    | st.from_regex(r"\A([a-z]{1,5}[ .;:,(]){1,12}\Z")
)
def test_any_text_is_taken_and_english_stays_english(text):
    assert isinstance(whole().say(text), str)
    assert Sentences({}).say(text) == text


@cache
def whole() -> Sentences:
    return Sentences({entry.msgid: entry.msgstr for entry in polib.pofile(str(messages.catalogue("es")))})


def test_in_english_nothing_changes(monkeypatch):
    monkeypatch.setenv("FRAMELANE_LANG", "en")
    for text in messages.found():
        assert i18n.sentence(text) == text
        assert i18n.gettext(text) == text


def test_which_language_is_in_use(monkeypatch):
    assert i18n.current({"FRAMELANE_LANG": "es_MX.UTF-8", "LANG": "en_GB"}) == "es"
    assert i18n.current({"LANG": "es_ES.UTF-8"}) == "es"
    assert i18n.current({"LANGUAGE": "es:en", "LANG": "en_GB"}) == "es"
    assert i18n.current({"LANG": "fr_FR"}) == "en"
    try:
        assert i18n.choose("es-AR") == i18n.current({"LANG": "en_GB"}) == "es"
        assert i18n.current({"FRAMELANE_LANG": "en"}) == "en"
    finally:
        i18n.choose(None)


def test_widgets_show_nothing_that_is_not_translated():
    shown = {}
    for path in sorted((messages.LIBRARY / "notebook").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "ipywidgets" in source and (texts := messages.untranslated(source)):
            shown[path.name] = texts
    assert not shown


@pytest.mark.parametrize(("source", "found"), [
    ("w.Button(description='Start')", ["Start"]),
    ("w.Button(description=_('Start'), tooltip='Begin the batch')", ["Begin the batch"]),
    ("w.HTML(value=f'<b>Done</b> {n}')", ["Done"]),
    ("page = f'<p title=\"All jobs\">{_(\"Jobs\")}</p>'", ["All jobs"]),
    ("w.Dropdown(options=['Fast one', name], value=mode)", ["Fast one"]),
    ("w.Button(description=_('Start'), tooltip=_('Begin'), style='x')", []),
    ("w.HTML(value=f'<b>{_(\"Done\")}</b> <i>{n} %</i>')", []),
    ("w.HTML(sentence('It fits.'))", []),
    ("raise UsageError('<b>This is an error</b>')", []),
])  # fmt: skip
def test_what_a_widget_would_show_in_english_is_found(source, found):
    assert messages.untranslated(source) == found
