"""Terms that are accepted once, and files that users bring: nothing is fetched or opened before, none after is lost."""

from __future__ import annotations

import hashlib
import json

import pytest
from typer.testing import CliRunner

from framelane.cli.app import app
from framelane.errors import FramelaneError, UsageError
from framelane.models import catalog, files, licence, store
from support.shop import SHA, WEIGHTS, shop

__all__ = ["shop"]
TERMS = "For non-commercial research only."


@pytest.fixture
def plant(shop, monkeypatch):
    def make(**fields):
        url = catalog.Url.model_construct(address=shop.address + "/w.pth", sha256_prefix=None)
        given = {"url": url, "sha256": SHA, "bytes": len(WEIGHTS), "licence": "Some-NC", "terms": TERMS, **fields}
        entry = catalog.Entry(name="planted", task="t", vendor="v", about="a", input="i", **given)
        for module in (store, catalog):
            monkeypatch.setattr(module, "get", lambda name: entry)
        monkeypatch.setattr(store, "entries", lambda: (entry,))
        return entry

    return make


def refused(call, *arguments, **more):
    with pytest.raises(UsageError) as caught:
        call(*arguments, **more)
    assert TERMS in str(caught.value)
    assert "models fetch planted --accept-licence" in str(caught.value)


def test_nothing_is_fetched_before_the_terms_are_accepted_and_then_never_asked_again(shop, plant):
    entry = plant()
    for call in (store.resolve, store.fetch):
        refused(call, "planted")
    refused(store.fetch, "planted", force=True, trust=True)
    assert not shop.asked
    assert store.fetch("planted", accept=True).read_bytes() == WEIGHTS
    assert store.resolve("planted").is_file()
    record = json.loads((files.folder() / "licences" / "planted.json").read_text())
    assert record["terms"] == entry.terms
    assert record["accepted"]


def test_a_file_that_is_already_here_is_not_opened_without_acceptance(shop, plant):
    path = store._location(plant())
    path.parent.mkdir(parents=True)
    path.write_bytes(WEIGHTS)
    for call in (store.resolve, store.digest):
        refused(call, "planted")
    assert store.fetch("planted", accept=True) == path
    assert not shop.asked


@pytest.mark.parametrize("changed", [{"terms": "Other terms."}, {"licence": "Other-NC"}])
def test_changed_terms_are_accepted_anew(plant, changed):
    licence.accept(plant())
    assert licence.accepted(plant())
    assert not licence.accepted(plant(**changed))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"sha256": true}', '{"sha256": "0"}', "yes"])
def test_a_record_that_says_nothing_of_these_terms_is_no_acceptance(plant, content):
    plant()
    record = files.folder() / "licences" / "planted.json"
    record.parent.mkdir(parents=True)
    record.write_text(content)
    refused(store.resolve, "planted")


def test_without_terms_nothing_is_asked(plant):
    plant(terms=None)
    assert store.fetch("planted").read_bytes() == WEIGHTS
    assert not (files.folder() / "licences").exists()


def test_on_the_command_line_the_terms_are_shown(shop, plant):
    plant()
    runner = CliRunner()
    asked = runner.invoke(app, ["models", "fetch", "planted"])
    assert isinstance(asked.exception, UsageError)
    assert not shop.asked
    done = runner.invoke(app, ["models", "fetch", "planted", "--accept-licence"])
    assert done.exit_code == 0, done.output
    assert TERMS in done.stderr
    assert runner.invoke(app, ["models", "fetch", "planted"]).exit_code == 0


# -- files of the user's own --------------------------------------------------------------------------------------------


def test_the_published_file_can_be_given_instead_of_downloaded(shop, plant, tmp_path):
    entry = plant()
    mine = tmp_path / "mine.pth"
    mine.write_bytes(WEIGHTS)
    refused(store.fetch, "planted", given=mine)
    assert store.fetch("planted", accept=True, given=mine) == store._published_location(entry)
    assert store.resolve("planted").read_bytes() == WEIGHTS
    assert not shop.asked


def test_another_file_is_taken_only_when_trusted_held_to_its_digest_and_given_up_by_force(shop, plant, tmp_path):
    entry = plant()
    mine = tmp_path / "other.onnx"
    mine.write_bytes(b"other weights")
    with pytest.raises(FramelaneError, match=r"is not the published file of planted.*add --trust"):
        store.fetch("planted", accept=True, given=mine)
    path = store.fetch("planted", given=mine, trust=True)
    assert path != store._published_location(entry)
    assert store.resolve("planted") == path
    assert store.digest("planted") == hashlib.sha256(b"other weights").hexdigest()
    assert store.check("planted") is store.State.PRESENT
    assert not shop.asked
    path.write_bytes(b"something else")
    assert store.check("planted") is store.State.DAMAGED
    with pytest.raises(FramelaneError, match=r"damaged or were changed.*--from FILE --trust"):
        store.resolve("planted")
    assert store.fetch("planted", force=True).read_bytes() == WEIGHTS
    assert store.resolve("planted") == store._published_location(entry)


def test_wrong_ways_to_give_a_file_are_sentences(plant, tmp_path):
    plant()
    with pytest.raises(UsageError, match="There is no file"):
        store.fetch("planted", accept=True, given=tmp_path / "none.onnx")
    asked = CliRunner().invoke(app, ["models", "fetch", "--from", str(tmp_path / "x")])
    assert isinstance(asked.exception, UsageError)


def test_every_restricted_face_model_of_the_catalogue_has_terms():
    restricted = [entry for entry in catalog.entries() if "InsightFace" in entry.licence]
    assert {entry.name for entry in restricted} == {"inswapper_128", "buffalo_l"}
    for entry in restricted:
        assert "non-commercial" in (entry.terms or "")
        assert entry.sha256
        assert not entry.default
