"""The doctor finds by doing: each probe on what really works here, and on what really is broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from framelane import doctor
from framelane.doctor import (
    attention,
    child,
    codecs,
    deep,
    heat,
    kernels,
    onnx,
    packages,
    paste,
    round_trip,
    space,
    storage,
)
from framelane.doctor.finding import Finding
from framelane.doctor.redact import Secrets
from framelane.errors import UsageError
from framelane.jobs.mounts import remote_mounts
from support import stub_driver
from support.driver import in_machine_with

SUBJECTS_OF = {
    "decode cpu", "encode cpu h264", "encode cpu hevc", "loaded numpy", "replaced packages", "cv2", "torchvision",
    "PyTorch", "attention backend", "attention maps", "ONNX Runtime", "Drive", "disk speed", "heat", "disk space", "RAM",
    "swap", "models",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return doctor.examine(drives=[str(tmp_path_factory.mktemp("drive"))])


def named(found, name):
    return next(finding for finding in found if finding["name"] == name)


def test_the_report_keeps_to_its_schema(report):
    schema = doctor.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = json.loads(json.dumps(report))
    assert plain == report
    jsonschema.Draft202012Validator(schema).validate(plain)
    # A schema that takes anything would pass the above too.
    for harm in (
        lambda r: r.pop("findings"),
        lambda r: r["findings"][0].update(status="fine"),
        lambda r: r["findings"][0].update(status="error", fix=""),
        lambda r: r["findings"][0].update(fix="one\ntwo"),
        lambda r: r["hardware"].update(ram_total=-1),
        lambda r: r.update(surprise=1),
    ):
        worse = json.loads(json.dumps(report))
        harm(worse)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate(worse)


def test_every_subject_is_looked_at_and_says_what_was_seen(report):
    assert {finding["name"] for finding in report["findings"]} >= SUBJECTS_OF
    for finding in report["findings"]:
        assert finding["evidence"].endswith("."), finding
    assert named(report["findings"], "decode cpu")["figures"]["times_kept"] is True
    assert named(report["findings"], "ONNX Runtime")["figures"]["cpu_ms"] > 0
    assert named(report["findings"], "Drive")["figures"]["same"] is True


def test_the_box_is_readable_at_80_columns(report):
    text = StringIO()
    Console(file=text, width=80).print(doctor.render(report))
    lines = text.getvalue().splitlines()
    assert {len(line) for line in lines} == {80}
    shown = " ".join(text.getvalue().replace("│", " ").split())
    for word in ("System", "GPU", "Versions", "Profile", report["versions"]["packages"]["av"], "framelane doctor"):
        assert word in shown
    for finding in report["findings"]:
        assert finding["name"] in shown
        assert " ".join(finding["evidence"].split())[:25] in shown


def test_the_block_is_fenced_and_of_a_fixed_width(report):
    lines = paste.block(report, Secrets()).splitlines()
    assert (lines[0], lines[-1]) == ("```text", "```")
    assert max(map(len, lines)) <= paste.WIDTH
    assert not [line for line in lines[1:-1] if "`" in line]
    assert [line for line in lines if line.startswith("ok    decode cpu")]


def test_only_what_is_asked_for_is_looked_at():
    found = doctor.examine(only=["space"])["findings"]
    assert [finding["name"] for finding in found] == ["disk space", "RAM", "swap"]
    with pytest.raises(UsageError, match=r"no subject 'spice'; there are packages, codecs"):
        doctor.examine(only=["spice"])


def test_a_warning_without_a_fix_is_refused():
    with pytest.raises(ValueError, match="says nothing that can be done"):
        Finding("x", "warning", "It is broken.")
    with pytest.raises(ValueError, match="a finding is one of"):
        Finding("x", "bad", "It is broken.", "Mend it.")  # type: ignore[arg-type]


# -- a process of its own --------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A ``framelane.doctor.hostile`` in the child, whose ``probe`` runs the given code."""

    def make(code):
        (tmp_path / "sitecustomize.py").write_text(
            "import sys, types, importlib, os, signal, time\n"
            "def probe():\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "\n"
            "module = types.ModuleType('framelane.doctor.hostile'); module.probe = probe\n"
            "sys.modules['framelane.doctor.hostile'] = module\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return child.in_child("hostile", 20, "Mend it.")

    return make


def test_a_probe_that_crashes_is_a_finding(hostile):
    (found,) = hostile("os.kill(os.getpid(), signal.SIGSEGV)")
    assert (found.status, found.fix) == ("error", "Mend it.")
    assert "crashed (SIGSEGV)" in found.evidence


def test_a_probe_that_breaks_is_a_finding(hostile):
    (found,) = hostile("raise OSError('the driver is upset')")
    assert "the driver is upset" in found.evidence


def test_a_probe_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, subprocess, time\n"
        "if 'hang' in sys.orig_argv:\n"
        "    started = subprocess.Popen(['sleep', '300'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(started.pid))\n"
        "    time.sleep(300)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = child.in_child("hang", 3, "Mend it.")
    assert "did not answer within 3 s" in found.evidence
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(pid):
            break
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False


# -- codecs ----------------------------------------------------------------------------------------------------------------


def test_wrong_pictures_and_wrong_times_are_told_apart():
    made = round_trip.pictures()
    seconds = [pts * round_trip.TIME_BASE for pts in round_trip.timestamps()]
    same = round_trip.compare(list(zip(made, seconds, strict=True)))
    assert (same.psnr, same.times_kept) == (round_trip.IDENTICAL_DB, True)
    off = [picture.astype(np.int16) + 1 for picture in made]
    assert round_trip.compare(list(zip(off, seconds, strict=True))).psnr == pytest.approx(48.13, abs=0.01)
    even = [k * 30 * round_trip.TIME_BASE for k in range(len(made))]  # somebody assumed a constant rate
    assert not round_trip.compare(list(zip(made, even, strict=True))).times_kept
    assert not round_trip.compare(list(zip(made[:-1], seconds[:-1], strict=True))).times_kept
    shuffled = round_trip.compare(list(zip([*made[1:], made[0]], seconds, strict=True)))
    assert codecs.judged("x", "It", shuffled, 32.0).status == "error"
    assert codecs.judged("x", "It", same, 32.0).status == "ok"


def test_a_wrong_matrix_costs_more_than_the_limit():
    """The limit must tell an encoder's loss from a conversion through the wrong matrix."""
    import av

    seconds = [pts * round_trip.TIME_BASE for pts in round_trip.timestamps()]
    wrong = [
        av.VideoFrame.from_ndarray(picture, format="yuv420p")
        .reformat(format="yuv420p", src_colorspace=1, dst_colorspace=5)
        .to_ndarray()
        for picture in round_trip.pictures()
    ]
    trip = round_trip.compare(list(zip(wrong, seconds, strict=True)))
    assert codecs.judged("x", "It", trip, codecs._GOOD_DB).status == "error"


def test_frames_in_device_memory_are_compared_as_well(tmp_path):
    """The way of a GPU's frames, on the CPU: uploaded as surfaces, brought down by the encoder, read back."""
    from framelane.video.transfer import upload

    made = round_trip.frames()
    assert np.array_equal(codecs.planar(upload(made[3], "cpu")), round_trip.pictures()[3])
    spec = replace(codecs.spec_for("cpu", "h264"), device="cpu:0")  # a device, by another name than the host's
    trip = round_trip.compare(codecs.through_writer(tmp_path / "out.nut", spec))
    assert codecs.judged("x", "It", trip, codecs._GOOD_DB).status == "ok"


def test_a_rung_is_unproven_until_it_has_compared_frames(monkeypatch):
    def found(*working):
        names = [f"decode {rung}" for rung in (*codecs.CARD_RUNGS, "cpu")]
        names += [f"encode {rung} {codec}" for rung in (*codecs.CARD_RUNGS, "cpu") for codec in ("h264", "hevc")]
        return [Finding(name, "ok" if name in working or "cpu" in name else "note", "So.") for name in names]

    summary, unproven = codecs.summary(gpu=False, found=found())
    assert (summary.status, summary.figures) == ("ok", {"decoder": "cpu", "encoder": "cpu"})
    assert "decode pyav, decode nvcodec" in unproven.evidence
    summary, _ = codecs.summary(gpu=True, found=found())
    assert (summary.status, "install.py --build" in summary.fix) == ("warning", True)
    half, unproven = codecs.summary(gpu=True, found=found("decode nvcodec"))  # NVDEC and no NVENC
    assert (half.status, half.figures) == ("warning", {"decoder": "nvcodec", "encoder": "cpu"})
    assert "decode nvcodec" not in unproven.figures["rungs"]
    works = found("decode pyav", "encode ffmpeg h264")
    summary, unproven = codecs.summary(gpu=True, found=works)
    assert (summary.status, summary.figures) == ("ok", {"decoder": "pyav", "encoder": "ffmpeg"})
    monkeypatch.setitem(codecs.COMPARED, "decode ffmpeg", "a card, a day")
    _, fewer = codecs.summary(gpu=True, found=works)
    assert set(unproven.figures["rungs"].split(", ")) - set(fewer.figures["rungs"].split(", ")) == {"decode ffmpeg"}


@stub_driver.needs_compiler
def test_a_driver_that_is_too_old_is_named(tmp_path, monkeypatch):
    """The real probes meet a driver compiled here that offers CUDA 9."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stub_driver.build(tmp_path / "driver", version=9000)))
    found = {
        finding.name: finding for finding in child.in_child("codecs", 120, "Mend it.", rungs=["pyav", "ffmpeg", "cpu"])
    }
    for rung in ("pyav", "ffmpeg"):
        assert found[f"decode {rung}"].status == "note"
        assert "too old" in found[f"decode {rung}"].evidence
    assert found["decode cpu"].status == "ok"


# -- PyTorch, attention, ONNX Runtime ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "archs", "how"),
    [
        ((7, 5), ["sm_70", "sm_75", "sm_80"], "sm_75"),
        ((8, 9), ["sm_80", "sm_90"], "sm_80"),  # a kernel runs on later minors of its major
        ((8, 0), ["sm_86", "sm_90"], None),  # not on earlier ones
        ((7, 5), ["sm_80", "sm_90"], None),  # a build that no longer has the T4
        ((12, 0), ["sm_80", "compute_90"], "PTX"),
        ((7, 5), ["sm_80", "compute_80"], None),  # PTX does not run backwards
        ((9, 0), ["sm_90a"], "sm_90a"),
        ((10, 0), ["sm_90a", "compute_90a"], None),
    ],
)
def test_kernels_for_a_card(capability, archs, how):
    found = kernels.kernels_for(capability, archs)
    assert found is None if how is None else how in found


def test_fused_attention_returns_no_maps_here(report):
    """What transformers does without an error, by doing: explicit attention gives every layer's map, fused gives none."""
    maps = named(report["findings"], "attention maps")["figures"]
    assert maps["eager"] == 2
    assert maps["fused"] < 2
    kinds = named(report["findings"], "attention backend")["figures"]
    assert kinds["math"] is True
    assert set(kinds) == {kind.lower() for kind in attention._KINDS}


def test_onnx_results_that_differ_are_an_error():
    figures = {"provider": "CUDAExecutionProvider", "cpu_ms": 60.0, "gpu_ms": 6.0}
    assert onnx._judged("So.", {**figures, "error": 1e-3}).status == "ok"
    assert onnx._judged("So.", {**figures, "error": 0.5}).status == "error"
    assert onnx._judged("So.", {**figures, "error": float("nan")}).status == "error"
    assert onnx._judged("So.", {**figures, "error": 1e-3, "gpu_ms": 61.0}).status == "warning"


def test_a_gpu_that_onnxruntime_cannot_use_is_an_error():
    (found,) = onnx.probe(gpu=True)
    if found.figures["provider"] == "CPUExecutionProvider":
        assert found.status == "error"
        assert "runs on the CPU" in found.evidence
        assert "onnxruntime-gpu" in found.fix


# -- packages --------------------------------------------------------------------------------------------------------------


def test_loaded_against_installed():
    modules = {"numpy": SimpleNamespace(__version__="2.1.3"), "torch": SimpleNamespace(__version__="2.11.0+cu128")}
    installed = {"numpy": "2.4.6", "torch": "2.11.0"}
    (found,) = packages.loaded(modules, installed.get)  # torch's local version is no difference
    assert (found.name, found.status) == ("loaded numpy", "error")
    assert "2.1.3" in found.evidence
    assert "2.4.6" in found.evidence
    assert "Restart" in found.fix
    (same,) = packages.loaded(modules, {**installed, "numpy": "2.1.3"}.get)
    assert same.status == "ok"


def test_a_process_that_runs_a_replaced_package_is_found(tmp_path):
    """A real process maps a real compiled file of a package, which is then replaced as pip replaces it."""
    package = tmp_path / "site-packages" / "numpy"
    package.mkdir(parents=True)
    library = package / "core.so"
    library.write_bytes(b"\0" * 4096)
    code = (
        f"import mmap, sys; file = open({str(library)!r}, 'rb'); "
        "held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); print(1, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        assert packages.replaced_under([process.pid]).status == "ok"
        library.unlink()
        library.write_bytes(b"\1" * 4096)
        found = packages.replaced_under([process.pid])
        assert (found.status, found.figures["packages"]) == ("error", "numpy")
        assert "Restart" in found.fix
    finally:
        process.communicate()
    assert packages.replaced_under([process.pid]).status == "note", "no process, no answer"


def test_who_owns_cv2():
    assert packages.judged_cv2("4.12.0", {"opencv-python": "4.12.0.88"}).status == "ok"
    both = packages.judged_cv2("4.12.0", {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.11.0.86"})
    assert both.status == "note"
    assert "pip uninstall -y opencv-python-headless opencv-python" in both.fix
    assert both.figures["owners"] == "opencv-python"
    none = packages.judged_cv2("4.10.0", {"opencv-python": "4.12.0.88", "opencv-contrib-python": "4.11.0.86"})
    assert none.status == "warning"
    assert "None of them is of that version" in none.evidence
    assert packages.claims_of("cv2"), "this machine has an OpenCV, with a list of its files"


# -- storage ---------------------------------------------------------------------------------------------------------------


def test_a_drive_is_left_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    found = storage.drive(tmp_path, named=True)
    assert (found.status, found.figures["same"], found.figures["bytes"]) == ("ok", True, 1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_drive_that_refuses(tmp_path, monkeypatch):
    gone = storage.drive(tmp_path / "gone", named=True)
    assert (gone.status, "There is no folder" in gone.evidence) == ("error", True)

    def fail(path, data):
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(storage, "_written", fail)
    found = storage.drive(tmp_path, named=True)
    assert (found.status, "Errno 107" in found.evidence, "mount" in found.fix) == ("error", True, True)
    assert storage.drive(tmp_path, named=False).status == "note"


def test_a_drive_that_lies_is_caught(tmp_path, monkeypatch):
    def cut(path, data):
        path.write_bytes(data[: len(data) // 2])
        return 0.1, True

    monkeypatch.setattr(storage, "_written", cut)
    found = storage.drive(tmp_path, named=False)
    assert (found.status, found.figures["same"]) == ("error", False)
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_measured_and_left_as_it_was(tmp_path):
    found = storage.disk(tmp_path, blocks=2)
    assert found.figures["mib"] == 8
    assert found.figures["write_mbs"] > 0
    assert found.figures["read_mbs"] > 0
    long = storage.sustained(tmp_path, 0.2, blocks=1)
    assert long["rounds"] >= 1
    assert long["slowest_write_mbs"] <= long["write_mbs"]
    assert list(tmp_path.iterdir()) == []


def test_drives_are_found_in_the_table_of_mounts(tmp_path):
    table = tmp_path / "mounts"
    table.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "drive /content/drive fuse.drive rw 0 0\n"
        "nas:/x /mnt/My\\040NAS nfs4 rw 0 0\n"
        "/dev/sda1 /data fuseblk rw 0 0\n"
        "fusectl /sys/fs/fuse/connections fusectl rw 0 0\n"
        "portal /run/user/1000/doc fuse.portal rw 0 0\n"
        "none /etc/hosts 9p rw 0 0\n"
    )
    assert remote_mounts(table) == ["/content/drive", "/mnt/My NAS"]
    assert storage.places([str(tmp_path)])[0] == (str(tmp_path), True)


# -- heat, room, models ----------------------------------------------------------------------------------------------------

HEAT = "import json; from framelane.doctor import heat; print(json.dumps([f.plain() for f in heat.probe()]))"


@pytest.mark.parametrize(
    ("given", "throttled", "status", "words"),
    [
        ("61", 0, "ok", "61 °C; it slows itself down at 93 °C"),
        ("61", 0x4, "note", "power limit"),
        ("91", 0, "warning", "91 °C"),
        ("88", 0x40 | 0x1, "warning", "too hot (hardware)"),
    ],
)
def test_the_gpus_heat(tmp_path, given, throttled, status, words):
    (found,) = in_machine_with(tmp_path, HEAT, FAKE_HEAT=given, FAKE_THROTTLE=str(throttled))
    assert (found["status"], found["figures"]["slowdown_c"]) == (status, 93.0)
    assert words in found["evidence"]


def test_without_a_gpu_the_heat_is_no_fault(tmp_path):
    (found,) = in_machine_with(tmp_path, HEAT, FAKE_GPU="no driver")
    assert found["status"] in ("ok", "note")
    assert "Driver Not Loaded" in found["evidence"]
    assert heat.reasons(0x24) == ["power limit", "too hot (software)"]


def test_a_gpu_that_torch_cannot_use_is_an_error(tmp_path):
    code = "import json; from framelane import doctor; print(json.dumps(doctor.examine(only=['kernels', 'onnx'])))"
    report = in_machine_with(tmp_path, code, FAKE_NAME="NVIDIA L4")
    jsonschema.Draft202012Validator(doctor.schema()).validate(report)
    text = StringIO()
    Console(file=text, width=140).print(doctor.render(report))
    assert all(word in text.getvalue() for word in ("NVIDIA L4", "15.7 GB free of 16.1 GB", "580.82.07", "up to 12.8"))
    assert "NVIDIA L4 (7.5)" in paste.block(report, Secrets())
    if not report["hardware"]["torch_cuda"]:
        assert report["profile"]["name"] == "cpu"
        assert "it is not used" in named(report["findings"], "PyTorch")["evidence"]
        assert named(report["findings"], "ONNX Runtime")["status"] == "error"


def test_little_room_is_said():
    there = {"ram_total": 8e9, "ram_available": 1e9, "ram_limited": True, "disk_free": 1e9, "swap_total": 4e9}
    assert [finding.status for finding in space.findings(there)] == ["warning", "warning", "ok"]
    roomy = {**there, "ram_available": 6e9, "disk_free": 9e9}
    assert [finding.status for finding in space.findings(roomy)] == ["ok", "ok", "ok"]


def test_a_damaged_model_and_a_broken_catalogue_are_errors():
    rows = [
        {"name": "nanodet", "state": "damaged", "command": "framelane models fetch nanodet", "asks": None},
        {"name": "mvit", "state": "missing", "command": "framelane models fetch mvit --trust", "asks": "--trust"},
    ]
    damaged, counted = doctor.model_findings({"rows": rows, "error": None})
    assert (damaged.status, damaged.fix) == ("error", "Run: framelane models fetch nanodet")
    assert "1 damaged, 1 missing" in counted.evidence
    assert "of mvit: those only framelane models fetch NAME --trust brings" in counted.evidence
    (broken,) = doctor.model_findings({"rows": [], "error": "It broke."})
    assert (broken.status, broken.evidence) == ("error", "It broke.")


def test_what_does_not_come_by_itself_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELANE_CACHE", str(tmp_path))  # nothing was fetched or accepted here
    rows = doctor._models()["rows"]
    *_, counted = doctor.model_findings({"rows": rows, "error": None})
    for part in (
        "rtmo_s",
        "--trust",
        "inswapper_128",
        "--accept-licence",
        "depth_anything_v2_metric_outdoor, which depth",
    ):
        assert part in counted.evidence
    *_, whole = doctor.model_findings({"rows": [{**row, "state": "present"} for row in rows], "error": None})
    assert "fetch" not in whole.evidence


def test_onnxruntime_for_another_cuda_than_the_drivers():
    assert doctor.needs_cuda_13("1.27.0")
    assert not doctor.needs_cuda_13("1.26.0")
    assert not doctor.needs_cuda_13(None)
    report = {"hardware": {"gpu": {"cuda": "12.8"}}, "versions": {"packages": {"onnxruntime-gpu": "1.27.1"}}}
    (found,) = doctor._wrong_cuda(report)
    assert "needs CUDA 13" in found.evidence
    report["hardware"]["gpu"]["cuda"] = "13.0"
    assert not list(doctor._wrong_cuda(report))


# -- the deep look ---------------------------------------------------------------------------------------------------------


def test_the_deep_look_measures(tmp_path):
    assert sum(deep.shares(60).values()) == pytest.approx(60)
    (disk,) = deep.probe("disk", 0.2, str(tmp_path))
    assert disk.figures["write_mbs"] > 0
    (bandwidth,) = deep.probe("bandwidth", 0.2)
    assert bandwidth.figures["gbs"] > 0
    (encoded,) = deep.probe("encode", 0.2, encoders=[["cpu", "h264"]])
    assert (encoded.name, encoded.figures["fps"] > 0) == ("speed cpu h264", True)
    load = deep.drift(0.5, "cpu")
    assert load.figures["first_gflops"] > 0
    assert load.figures["kept"] == pytest.approx(load.figures["last_gflops"] / load.figures["first_gflops"], rel=0.2)


def test_slowing_down_under_load_is_a_warning(monkeypatch):
    monkeypatch.setattr(deep, "_speeds", lambda seconds, device: [100.0] * 4 + [90.0] * 4 + [60.0] * 8)
    found = deep.drift(20, "cpu")
    assert (found.status, found.figures["kept"]) == ("warning", 0.6)


def test_signals_have_names():
    assert "SIGSEGV" in child._end(-signal.SIGSEGV, "")
    assert "ended with code 3" in child._end(3, "why\n")
