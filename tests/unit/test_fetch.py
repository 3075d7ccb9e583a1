"""Fetching from the web and from a model hub, against a server on this machine.

The hub's client is the real ``huggingface_hub``; the server speaks as much of the hub's API as that asks for.
"""

import json
import socket

import pytest

from framelane.errors import FramelaneError
from framelane.models import catalog, download, files, store
from support.shop import COMMIT, CONFIG, PREPROCESSOR, REPO, SHA, WEIGHTS, describe, shop, stock

__all__ = ["shop"]


@pytest.fixture
def plant(shop, monkeypatch):
    """Make an entry of the catalogue; addresses may be http here, on this machine, which the catalogue forbids."""

    def make(prefix=SHA[:8], path="/w.pth", **fields):
        url = catalog.Url.model_construct(address=shop.address + path, sha256_prefix=prefix)
        fields = {"url": url, **fields}
        entry = catalog.Entry(name="planted", task="t", vendor="v", licence="MIT", about="a", input="i", **fields)
        monkeypatch.setattr(store, "get", lambda name: entry)
        monkeypatch.setattr(store, "entries", lambda: (entry,))
        return entry

    return make


@pytest.fixture
def hubbed(plant):
    def make(**hub):
        return plant(url=None, hub=catalog.Hub(repo=REPO, **hub))

    return make


def leftovers():
    return [p.name for p in files.folder().rglob("*") if p.name.endswith(".part") or ".fetch-" in p.name]


def weights_here():
    return [p for p in files.folder().rglob("*") if p.suffix in (".pth", ".safetensors")]


# -- one file -----------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_checked_and_reported(shop, plant):
    plant(notice="Mind this.")
    assert store.table()[0].state is store.State.MISSING
    said = []
    path = store.resolve("planted", notify=said.append)
    assert path.read_bytes() == WEIGHTS
    assert path.name == f"planted-{SHA[:8]}.pth"
    assert said == [f"Fetching planted (size not known) from {shop.address}/w.pth.", "Mind this."]
    assert store.digest("planted") == SHA
    assert store.check("planted") is store.State.PRESENT
    store.resolve("planted")
    assert len(shop.asked) == 1
    assert not leftovers()


def test_progress_is_told_by_quarters_of_large_files(shop, plant, monkeypatch):
    monkeypatch.setattr(download, "_TOLD_ABOVE", 1000)
    monkeypatch.setattr(download, "_CHUNK", 100_000)
    plant()
    said = []
    store.fetch("planted", notify=said.append)
    assert [text.split(" %")[0].split()[-1] for text in said[1:]] == ["25", "50", "75"]


def test_a_wrong_digest_never_gets_its_name(shop, plant):
    entry = plant(prefix="0" * 8)
    with pytest.raises(FramelaneError, match=rf"w\.pth of planted is not the one in the catalogue: .*{SHA}"):
        store.fetch("planted")
    assert not store._location(entry).exists()
    assert not leftovers()


def test_a_wrong_size_is_refused_before_it_is_downloaded(shop, plant):
    plant(bytes=len(WEIGHTS) + 1)
    with pytest.raises(FramelaneError, match=r"2,304,000 bytes, expected are 2,304,001: it is another file"):
        store.fetch("planted")
    assert not weights_here()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_off_transfer_goes_on_where_it_broke(shop, plant, ranges):
    shop.cuts, shop.ranges = [1_000_000, 500_000], ranges
    plant()
    assert store.fetch("planted").read_bytes() == WEIGHTS
    spans = [span for _, span, _ in shop.asked]
    assert spans == (
        [None, "bytes=1000000-", "bytes=1500000-"] if ranges else [None, "bytes=1000000-", "bytes=500000-"]
    )


def test_a_transfer_that_always_breaks_off_ends_as_a_sentence(shop, plant):
    shop.cuts = [10, 10, 10, 10, 10]
    plant()
    with pytest.raises(FramelaneError, match=r"broke off 4 times, last at 40 bytes.*framelane models fetch planted"):
        store.fetch("planted")
    assert not weights_here()
    assert not leftovers()


def test_a_busy_server_is_asked_again(shop, plant):
    shop.busy = 2
    plant()
    assert store.fetch("planted").read_bytes() == WEIGHTS


def test_a_file_that_is_gone_is_a_sentence(shop, plant):
    plant(path="/gone.pth")
    with pytest.raises(FramelaneError, match=r"is not there any more: .*/gone\.pth answered HTTP 404"):
        store.fetch("planted")
    assert len(shop.asked) == 1


def test_redirects_are_followed_but_never_from_https_to_http(shop, plant):
    shop.moved["/old.pth"] = "/w.pth"
    plant(path="/old.pth")
    assert store.fetch("planted").read_bytes() == WEIGHTS
    handler = download._NoDowngrade()
    request = download.urllib.request.Request("https://host/a")
    with pytest.raises(download.urllib.error.URLError, match="from https to http://host/b"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://host/b")


@pytest.mark.parametrize(("prefix", "command"), [(SHA[:8], "planted."), (None, "planted --trust.")])
def test_offline_the_command_to_try_again_is_the_whole_one(plant, monkeypatch, prefix, command):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plant(url=catalog.Url.model_construct(address=f"http://127.0.0.1:{port}/w.pth", sha256_prefix=prefix))
    with pytest.raises(FramelaneError) as caught:
        store.fetch("planted", trust=prefix is None)
    assert str(caught.value).endswith(f"run: framelane models fetch {command}")


def test_offline_is_a_sentence_at_once(plant, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = catalog.Url.model_construct(address=f"http://127.0.0.1:{port}/w.pth", sha256_prefix=SHA[:8])
    plant(url=url)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(
        FramelaneError, match=r"cannot be reached from this machine.*run: framelane models fetch planted"
    ):
        store.resolve("planted")


def test_a_silent_server_is_given_up(plant, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", 0.05)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}/w.pth"
        plant(url=catalog.Url.model_construct(address=address, sha256_prefix=SHA[:8]))
        with pytest.raises(FramelaneError, match=r"broke off 4 times.*timed out"):
            store.fetch("planted")


def test_a_damaged_file_is_refused_and_fetched_again(shop, plant):
    plant()
    path = store.fetch("planted")
    path.write_bytes(b"junk")
    with pytest.raises(FramelaneError, match=r"damaged or were changed.*run: framelane models fetch planted\.$"):
        store.resolve("planted")
    with pytest.raises(FramelaneError, match="damaged"):
        store.digest("planted")
    assert store.fetch("planted").read_bytes() == WEIGHTS


# -- without a published digest -----------------------------------------------------------------------------------------


def test_without_a_published_digest_nothing_is_fetched_until_it_is_trusted(shop, plant):
    entry = plant(prefix=None)
    for call in (store.resolve, store.fetch):
        with pytest.raises(FramelaneError) as caught:
            call("planted")
        for part in ("names no digest", entry.url.address, str(store._location(entry)), "fetch planted --trust"):
            assert part in str(caught.value)
    assert not shop.asked
    assert store.fetch("planted", trust=True).read_bytes() == WEIGHTS
    assert store.digest("planted") == SHA
    assert store.check("planted") is store.State.PRESENT


def test_a_file_put_there_by_hand_is_opened_only_when_trusted_and_held_to_it(shop, plant):
    entry = plant(prefix=None)
    path = store._location(entry)
    path.parent.mkdir(parents=True)
    path.write_bytes(WEIGHTS)
    assert store.check("planted") is store.State.UNTRUSTED
    for call in (store.resolve, store.fetch):
        with pytest.raises(FramelaneError, match=rf"are not opened.*SHA-256 {SHA}.*fetch planted --trust"):
            call("planted")
    assert store.fetch("planted", trust=True) == path
    assert not shop.asked
    assert store.resolve("planted") == path
    path.write_bytes(b"something else")
    assert store.check("planted") is store.State.DAMAGED
    with pytest.raises(FramelaneError, match=rf"expected is {SHA}; run: framelane models fetch planted --trust"):
        store.resolve("planted")


# -- a hub --------------------------------------------------------------------------------------------------------------


def test_a_repository_becomes_a_checked_folder(shop, hubbed):
    hubbed()
    said = []
    folder = store.resolve("planted", notify=said.append)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"config.json": CONFIG, "preprocessor_config.json": PREPROCESSOR, "model.safetensors": WEIGHTS}
    assert said == [f"Fetching planted (2 MB) from {REPO} at {COMMIT[:12]}."]
    assert store.digest("planted") == SHA
    manifest = json.loads((files.folder() / "planted.json").read_text())
    assert (manifest["commit"], manifest["sha256"]["model.safetensors"]) == (COMMIT, SHA)
    asked = len(shop.asked)
    assert store.resolve("planted") == folder
    assert store.check("planted") is store.State.PRESENT
    assert len(shop.asked) == asked
    assert not leftovers()


def test_no_token_is_sent(shop, hubbed, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hubbed()
    store.fetch("planted")
    assert {token for _, _, token in shop.asked} == {None}


def test_the_hubs_files_are_held_to_the_hubs_digests(shop, hubbed):
    hubbed()
    stock(shop, sha256="0" * 64)
    with pytest.raises(
        FramelaneError, match=r"model\.safetensors of planted/model is not the one that the hub publishes"
    ):
        store.fetch("planted")
    siblings = stock(shop)
    siblings[0]["blobId"] = "0" * 40
    describe(shop, siblings)
    with pytest.raises(FramelaneError, match=r"config\.json of planted/model is not the one.*git object"):
        store.fetch("planted")
    assert store.check("planted") is store.State.MISSING
    assert not weights_here()


def test_a_hubs_file_that_is_cut_off_goes_on(shop, hubbed):
    shop.cuts = [1_000_000]
    hubbed()
    assert (store.fetch("planted") / "model.safetensors").read_bytes() == WEIGHTS
    assert "bytes=1000000-" in [span for _, span, _ in shop.asked]


def test_what_changed_in_the_folder_is_noticed_and_mended(shop, hubbed):
    hubbed()
    folder = store.fetch("planted")
    (folder / "config.json").write_text("{}")
    assert store.table()[0].state is store.State.DAMAGED
    with pytest.raises(FramelaneError, match=r"damaged or were changed; run: framelane models fetch planted"):
        store.resolve("planted")
    assert (store.fetch("planted") / "config.json").read_bytes() == CONFIG
    (folder / "model.safetensors").unlink()
    assert store.check("planted") is store.State.MISSING
    assert store.resolve("planted") == folder
    hubbed(revision="other")  # the catalogue names something else now: what is here is not that
    assert store.check("planted") is store.State.MISSING


def test_only_pickles_are_refused(shop, hubbed):
    hubbed()
    siblings = stock(shop)
    siblings[-1]["rfilename"] = "pytorch_model.bin"
    describe(shop, siblings)
    with pytest.raises(
        FramelaneError, match=r"only as pytorch_model\.bin, a format that can run code.*safetensors only"
    ):
        store.fetch("planted")
    describe(shop, siblings[:1])
    with pytest.raises(FramelaneError, match=r"planted/model at main has no preprocessor_config\.json"):
        store.fetch("planted")


def test_repositories_that_are_not_there_and_hubs_that_are_not_are_sentences(shop, hubbed, monkeypatch):
    hubbed(revision="gone")
    with pytest.raises(FramelaneError, match=r"no public repository planted/model with the revision gone"):
        store.fetch("planted")
    hubbed()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(FramelaneError, match=r"does not answer.*HF_ENDPOINT.*run: framelane models fetch planted"):
        store.resolve("planted")
