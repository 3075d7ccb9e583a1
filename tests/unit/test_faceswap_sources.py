"""Source faces: what is taken, and the sentences where none can be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from framelane.errors import UsageError
from framelane.perception.faces.centerface import CenterFaceFinder
from framelane.processors.faceswap.sources import load_source
from support.faces import astronaut, hopper


@pytest.fixture(scope="module")
def finder() -> CenterFaceFinder:
    return CenterFaceFinder(device="cpu", threads=1)


def test_an_image(finder, tmp_path):
    Image.fromarray(astronaut()).save(tmp_path / "her.png")
    source = load_source(tmp_path / "her.png", finder)
    assert source.name == "her.png"
    assert np.array_equal(source.images[0], astronaut())
    assert source.faces[0].mesh is not None
    assert source.embedding is None, "CenterFace cannot tell who it is"


def test_a_folder_has_its_best_image_first_and_ignores_what_is_no_image(finder, tmp_path):
    picture = Image.fromarray(astronaut())
    picture.resize((300, 300)).save(tmp_path / "a.png")
    picture.resize((900, 900)).save(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes(b"")
    source = load_source(tmp_path, finder)
    assert [image.shape[0] for image in source.images] == [900, 300]
    assert source.faces[0].size > source.faces[1].size


def test_an_image_is_turned_as_its_exif_says_and_its_transparency_is_laid_on_grey(finder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(astronaut())).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_source(tmp_path / "turned.png", finder).images[0], astronaut())
    clear = Image.fromarray(astronaut()).convert("RGBA")
    clear.putalpha(Image.fromarray((np.arange(512)[:, None] < 400).repeat(512, 1).astype(np.uint8) * 255))
    clear.save(tmp_path / "clear.png")
    assert (load_source(tmp_path / "clear.png", finder).images[0][450] == 128).all()


def test_a_large_image_is_shrunk(finder, tmp_path):
    Image.fromarray(astronaut()).resize((3000, 3000)).save(tmp_path / "large.jpg")
    assert load_source(tmp_path / "large.jpg", finder).images[0].shape == (2048, 2048, 3)


def test_where_no_source_can_be_had_a_sentence_names_file_and_reason(finder, tmp_path):
    def says(path, *words):
        with pytest.raises(UsageError) as raised:
            load_source(path, finder)
        text = str(raised.value)
        assert str(path) in text or str(path.parent) in text
        assert all(word in text for word in words), text
        assert text.endswith(".")

    says(tmp_path / "nothing.png", "no source image")
    (tmp_path / "empty").mkdir()
    says(tmp_path / "empty", "has no image")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    says(tmp_path / "broken.png", "cannot be read")
    Image.fromarray(np.full((200, 200, 3), 130, np.uint8)).save(tmp_path / "wall.png")
    says(tmp_path / "wall.png", "No face was found")
    two = np.hstack([astronaut(), hopper()[:512]])
    Image.fromarray(two).save(tmp_path / "two.png")
    says(tmp_path / "two.png", "shows 2 faces")
    Image.fromarray(astronaut()).resize((150, 150)).save(tmp_path / "small.png")
    says(tmp_path / "small.png", "pixels large")
    folder = tmp_path / "mixed"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "good.png")
    (folder / "bad.jpg").write_bytes(b"no")
    with pytest.raises(UsageError, match=r"bad\.jpg cannot be read"):
        load_source(folder, finder)
