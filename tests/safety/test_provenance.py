"""What an output says of itself: written when it is sealed, read back by the C2PA reader and other programs."""

import datetime
import io
import json
import os
import shutil
import subprocess
import sys

import av
import c2pa
import numpy as np
import pytest

import framelane
from framelane.errors import FramelaneError, UsageError
from framelane.processors.faceswap.label import Label
from framelane.provenance import DIGITAL_SOURCE_TYPE, Provenance, Unlabelled, certificate, metadata, record_digest, seal
from framelane.provenance.visible import check as check_label
from framelane.sections.faceswap import FaceswapSettings
from framelane.video.clip import probe
from support import sealed
from support.clips import ffmpeg, needs_ffmpeg, synthetic
from support.sealed import CONSENT

pytestmark = needs_ffmpeg
FAST = {"output.preset": "ultrafast", "hardware.threads": 1, "engine.segment_seconds": 0.5, "faceswap.consent": CONSENT}


@pytest.fixture(autouse=True, scope="module")
def _state(tmp_path_factory):
    os.environ["FRAMELANE_STATE"] = str(tmp_path_factory.mktemp("state"))
    yield
    del os.environ["FRAMELANE_STATE"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return synthetic(tmp_path_factory.mktemp("clip") / "clip.mp4", "-metadata", "comment=mine", seconds=2)


def make(clip, output, processor="stamped", **settings):
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return framelane.process_video(clip, processor, output=output, overrides={**FAST, **given})


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory):
    return make(clip, tmp_path_factory.mktemp("out") / "out.mp4")


def manifest_of(path):
    with path.open("rb") as stream, c2pa.Reader(seal.MIME[path.suffix], stream) as reader:
        store = json.loads(reader.json())
        return store["manifests"][store["active_manifest"]], reader.get_validation_state()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_credentials_survive_the_join_of_segments_and_are_valid(clip, tmp_path, suffix):
    result = make(clip, tmp_path / f"out{suffix}")
    for path in (result.output_path, result.gif_path):
        manifest, state = manifest_of(path)
        assert state == "Valid"
        actions = next(a for a in manifest["assertions"] if a["label"].startswith("c2pa.actions"))["data"]["actions"]
        assert [action["action"] for action in actions] == ["c2pa.created", "c2pa.edited"]
        assert actions[0]["digitalSourceType"] == DIGITAL_SOURCE_TYPE
        assert manifest["title"] == path.name
    stated = result.report["provenance"]
    assert stated["label_seen_on_frames"] == result.report["frames"] == 50
    assert stated["consent"][0]["consent"] == CONSENT
    assert stated["test_certificate"] is True


def test_names_stay_out_of_public_metadata_and_the_consent_is_tied_by_its_digest(made):
    for path in (made.output_path, made.gif_path):
        assert b"Ada Example" not in path.read_bytes()
    manifest, _ = manifest_of(made.output_path)
    tied = next(a for a in manifest["assertions"] if a["label"] == "org.framelane.consent")["data"]["records_sha256"]
    assert tied == [record_digest(record) for record in made.report["provenance"]["consent"]]


def test_other_programs_read_the_metadata(clip, made, tmp_path):
    ffprobe = ["ffprobe", "-v", "error", "-show_entries", "format_tags", "-of", "json"]
    for path in (made.output_path, make(clip, tmp_path / "out.mov").output_path):
        said = subprocess.run([*ffprobe, path], capture_output=True, text=True, check=True).stdout
        assert json.loads(said)["format"]["tags"]["comment"] == "AI-generated: a test | mine"
        with av.open(str(path), options={"export_xmp": "1"}) as container:
            assert f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"' in container.metadata["xmp"]
    said = subprocess.run([*ffprobe, made.gif_path], capture_output=True, text=True, check=True).stdout
    assert "AI-generated: a test" in said


def test_a_sealed_gif_plays_as_before_and_stays_below_its_cap(made):
    from PIL import Image

    with Image.open(made.gif_path) as picture:
        assert picture.info["loop"] == 0
        assert picture.n_frames > 5
        picture.seek(picture.n_frames - 1)
        picture.load()
    assert made.report["gif"]["bytes"] == made.gif_path.stat().st_size
    assert made.gif_path.stat().st_size <= 10_000_000


def test_room_for_metadata_and_credentials_is_enough(made, tmp_path):
    bare = tmp_path / "bare.gif"
    ffmpeg("-i", made.output_path, "-t", "0.5", bare)
    before = bare.stat().st_size
    says = sealed_provenance(320, 240)
    seal.seal(bare, says, "x" * 255)
    assert bare.stat().st_size - before < seal.ROOM


def sealed_provenance(width, height, **more):
    return Provenance(
        "AI-generated: a test", Label(FaceswapSettings()).mark(width, height), ({"consent": "x"},), **more
    )


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_one_changed_byte_is_found_out(made, tmp_path, where):
    changed = tmp_path / "out.mp4"
    data = bytearray(made.output_path.read_bytes())
    data[int(len(data) * where)] ^= 1
    changed.write_bytes(data)
    with pytest.raises(FramelaneError):
        seal.check(changed, sealed_provenance(320, 240))
    assert not seal.signed_here(changed, None, None)


def test_a_copy_that_lost_its_credentials_or_its_metadata_is_found_out(made, tmp_path):
    copy = tmp_path / "copy.mp4"
    ffmpeg("-i", made.output_path, "-c", "copy", "-map_metadata", "-1", copy)
    with pytest.raises(FramelaneError, match="ontent credentials"):
        seal.check(copy, sealed_provenance(320, 240))
    with pytest.raises(FramelaneError, match="does not say what it is"):
        metadata.check(copy, sealed_provenance(320, 240))
    check_label(copy, sealed_provenance(320, 240).mark)  # the picture still says it


def test_what_somebody_else_signed_is_not_ours(made, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path / "other"))
    assert not seal.signed_here(made.output_path, None, None)
    with pytest.raises(FramelaneError, match="another certificate"):
        seal.check(made.output_path, sealed_provenance(320, 240))


# -- the label in the finished picture -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("quality", [20, 51])
def test_the_label_is_seen_at_any_quality(clip, tmp_path, codec, quality):
    result = make(clip, tmp_path / "out.mp4", output__quality=quality, output__codec=codec)
    assert result.report["provenance"]["label_seen_on_frames"] == 50
    assert any("44 is used" in said for said in result.report["degradations"]) == (quality > 44)


@pytest.mark.parametrize("turn", [90, 180])
def test_the_label_is_upright_in_a_turned_clip(clip, tmp_path, turn):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-metadata:s:v", f"rotate={turn}", turned)
    result = make(turned, tmp_path / "out.mp4", faceswap__label_corner="top-left")
    assert result.report["provenance"]["label_seen_on_frames"] == 50
    shown = tmp_path / "shown.png"
    ffmpeg("-i", result.output_path, "-frames:v", "1", shown)  # ffmpeg turns it
    from PIL import Image

    mark = Label(FaceswapSettings(label_corner="top-left")).mark(*probe(result.output_path).display_size)
    pixels = np.asarray(Image.open(shown).convert("RGB")).astype(int)
    high, wide = mark.picture.shape[:2]
    found = pixels[mark.top : mark.top + high, mark.left : mark.left + wide]
    assert np.corrcoef(found.ravel(), mark.picture.ravel())[0, 1] > 0.9


def test_the_label_is_seen_where_frames_are_worked_on_smaller_and_scaled_up(tmp_path):
    big = synthetic(tmp_path / "big.mp4", "-preset", "ultrafast", seconds=0.6, size="960x540", audio=False)
    result = make(big, tmp_path / "out.mp4", hardware__working_height=240)
    assert result.report["working_size"][1] == 240
    assert result.report["provenance"]["label_seen_on_frames"] == 15


@pytest.mark.parametrize("hidden", ["gone", "pale", "moved", "one frame", "blurred"])
def test_a_video_whose_label_is_not_on_every_frame_is_refused(made, tmp_path, hidden):
    mark = sealed_provenance(320, 240).mark
    x, y, high, wide = mark.left, mark.top, *mark.picture.shape[:2]
    box = f"drawbox=x={x}:y={y}:w={wide}:h={high}:t=fill:color=gray"
    how = {
        "gone": box,
        "pale": f"{box}@0.8",
        "moved": "scroll=v=0.05:h=0",
        "one frame": f"{box}:enable='eq(n,33)'",
        "blurred": "boxblur=4",
    }[hidden]
    if hidden == "moved":
        how = "pad=320:248:0:0,crop=320:240:0:8"
    changed = tmp_path / "changed.mp4"
    ffmpeg("-i", made.output_path, "-vf", how, "-an", "-c:v", "libx264", "-crf", "12", changed)
    with pytest.raises(
        Unlabelled, match=r"cannot be seen at 1\.32 s" if hidden == "one frame" else "cannot be seen at 0"
    ):
        check_label(changed, mark)


def test_a_processor_that_forgets_its_label_gets_no_output_and_leaves_no_video(clip, tmp_path):
    with pytest.raises(Unlabelled):
        make(clip, tmp_path / "out.mp4", "unlabelled")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"job.json", "lock"}


def test_a_processor_that_forgets_to_say_what_it_made_makes_nothing(clip, tmp_path):
    with pytest.raises(FramelaneError, match="does not say what its output is"):
        make(clip, tmp_path / "out.mp4", "silent")
    assert not (tmp_path / "out.mp4").exists()


def test_no_provenance_without_consent():
    with pytest.raises(UsageError, match="no consent record"):
        Provenance("x", Label(FaceswapSettings()).mark(320, 240), ())


def test_a_gif_too_small_to_be_read_is_left_out_and_that_is_said(tmp_path):
    big = synthetic(tmp_path / "big.mp4", "-preset", "ultrafast", seconds=0.4, size="640x480", audio=False)
    result = make(big, tmp_path / "out.mp4", gif__width=128, faceswap__label_size=0.02)
    assert result.gif_path is None
    assert not (tmp_path / "out.gif").exists()
    assert any("label would not be legible" in warning for warning in result.report["warnings"])


# -- containers and certificates -----------------------------------------------------------------------------------------


def test_matroska_cannot_carry_credentials_and_is_refused_before_anything(clip, tmp_path):
    with pytest.raises(UsageError, match=r"\.mkv cannot carry content credentials") as caught:
        make(clip, tmp_path / "out.mkv")
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    assert not {"mkv", "video/x-matroska", "webm"} & set(c2pa.Builder.get_supported_mime_types())


def pem_pair(folder, days=30, other_key=False, curve=None):
    """A chain of one's own, as an authority would give it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    curve = curve or ec.SECP384R1()
    root_key, key = ec.generate_private_key(curve), ec.generate_private_key(curve)
    now = datetime.datetime.now(datetime.UTC)

    def name(text):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio Example"),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    def start(subject, public):
        return (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("root")).public_key(public)
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )  # fmt: skip

    root = (
        start("root", root_key.public_key())
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(certificate._usage(ca=True), True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        start("signer", key.public_key())
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(certificate._usage(ca=False), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        .sign(root_key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(certificate._pem(leaf) + certificate._pem(root))
    secret.write_bytes(
        (root_key if other_key else key).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return {"certificate": str(chain), "private_key": str(secret)}


def own_pair(given):
    return {f"faceswap__{key}": value for key, value in given.items()}


def test_the_users_own_certificate_signs(clip, tmp_path):
    result = make(clip, tmp_path / "out.mp4", **own_pair(pem_pair(tmp_path)))
    stated = result.report["provenance"]
    assert (stated["issuer"], stated["test_certificate"], stated["state"]) == ("Studio Example", False, "Valid")
    assert str(tmp_path / "key.pem") in json.dumps(result.report["settings"])  # its path, and nothing of the key
    assert "PRIVATE KEY" not in result.report_path.read_text()


@pytest.mark.parametrize("wrong", ["expired", "other key", "only one", "missing", "no pem", "swapped"])
def test_a_certificate_that_cannot_sign_is_refused_before_anything(clip, tmp_path, wrong):
    own = pem_pair(tmp_path, days=-10 if wrong == "expired" else 30, other_key=wrong == "other key")
    if wrong == "only one":
        own.pop("private_key")
    elif wrong == "missing":
        own["private_key"] = str(tmp_path / "nowhere.pem")
    elif wrong == "no pem":
        (tmp_path / "key.pem").write_text("secret")
    elif wrong == "swapped":
        own = {"certificate": own["private_key"], "private_key": own["certificate"]}
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UsageError) as caught:
        make(clip, out / "out.mp4", **own_pair(own))
    assert caught.value.exit_code == 2
    assert list(out.iterdir()) == []


def test_the_local_certificate_is_made_once_is_private_and_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_STATE", str(tmp_path))
    first = certificate.signing(None, None)
    kept = tmp_path / "credentials" / "local-test.pem"
    assert certificate.signing(None, None) == first
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_bytes(kept.read_bytes()[:200])
    assert certificate.signing(None, None).serial != first.serial
    monkeypatch.setattr(certificate, "_LIFE", datetime.timedelta(days=10))  # as if it ended soon
    kept.unlink()
    with pytest.raises(FramelaneError, match="cannot be read back"):
        certificate.signing(None, None)


def test_without_the_package_nothing_is_made(clip, tmp_path):
    code = (
        "import sys; sys.modules['c2pa'] = None; sys.path.insert(0, sys.argv[3])\n"
        "import support.sealed, framelane\n"
        "try:\n"
        "    framelane.process_video(sys.argv[1], 'stamped', output=sys.argv[2],"
        " faceswap={'consent': support.sealed.CONSENT})\n"
        "except framelane.FramelaneError as error:\n    print(error)\n"
    )
    tests = os.path.dirname(os.path.dirname(sealed.__file__))
    done = subprocess.run(
        [sys.executable, "-c", code, clip, tmp_path / "out.mp4", tests], capture_output=True, text=True, check=True
    )
    assert "nothing is made without them; install c2pa-python" in done.stdout
    assert not (tmp_path / "out.mp4").exists()


def test_a_disk_that_is_full_while_sealing_leaves_no_output(made, tmp_path, monkeypatch):
    copy = shutil.copy(made.output_path, tmp_path / "copy.mp4")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seal.os, "fsync", full)
    with pytest.raises(FramelaneError, match="disk is full"):
        seal.seal(copy, sealed_provenance(320, 240), "x")
    assert not (tmp_path / "signed-copy.mp4").exists()


def test_an_unsigned_picture_in_memory_is_not_taken_for_signed():
    with pytest.raises(FramelaneError), seal._library():
        seal._read("x.png", "image/png", io.BytesIO(seal._tiny_picture()), certificate.signing(None, None))
