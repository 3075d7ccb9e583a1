"""The commands themselves: events, settings, doctor, models."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from cli.test_bad_input import FAST, framelane
from framelane import settings
from framelane.models import catalog
from framelane.processors import shipped
from framelane.schema import fields
from support.batches import cut
from support.clips import STREET, WALKER


def test_events_are_json_lines_on_stdout(tmp_path):
    done = framelane("run", "copy", STREET, "-o", tmp_path / "o.mp4", *FAST, "--events", "-")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert "segment" in kinds
    progress = [event for event in events if event["event"] == "progress"][-1]
    # Beside them stand the sensors that answer here, such as "ram".
    assert set(progress) >= {"event", "frame", "frames", "fps", "eta_s", "stage_ms"}
    assert set(progress["stage_ms"]) == {"decode", "process", "encode"}
    assert "Video" in done.stderr


def test_failed_jobs_end_with_a_failed_event(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no")
    done = framelane("run", "copy", bad, "-o", tmp_path / "o.mp4", "--events", tmp_path / "e.jsonl")
    assert done.returncode == 1
    assert json.loads((tmp_path / "e.jsonl").read_text().splitlines()[-1])["event"] == "failed"


def test_print_settings_says_where_each_value_comes_from(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("attention: {sample_fps: 3}\ngif: {max_mb: 4}\n")
    done = framelane(
        "run", "attention", "any.mp4", "--print-settings", "--mode", "fast", "--profile", "cpu", "--config", config,
        "--set", "gif.max_mb=2",
    )  # fmt: skip
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(lines) == set(fields())
    assert re.search(r"gif.max_mb\s+2.0\s+the command line", lines["gif.max_mb"])
    assert re.search(r"sample_fps\s+3.0\s+.*mine.yaml", lines["attention.sample_fps"])
    assert re.search(r"detect_every\s+3\s+mode fast", lines["attention.detect_every"])
    assert re.search(r"hardware.device\s+\"cpu\"\s+profile cpu", lines["hardware.device"])
    assert re.search(r"gif.fps\s+15.0\s+default", lines["gif.fps"])


def test_doctor_prints_a_box_and_json():
    text = framelane("doctor", "--only", "heat").stdout
    for word in ("GPU", "CPU", "Disk", "Profile", "Findings", "heat"):
        assert word in text, word
    done = framelane("doctor", "--json", "--only", "codecs")
    report = json.loads(done.stdout)
    assert report["profile"]["name"] in settings.names("profiles")
    assert report["profile"]["why"]
    assert {"decode cpu", "encode cpu h264"} <= {finding["name"] for finding in report["findings"]}


def test_findings_are_no_failure(tmp_path):
    done = framelane("doctor", "--only", "storage", "--path", tmp_path / "gone")
    assert done.returncode == 0
    assert "There is no folder" in " ".join(done.stdout.replace("│", " ").split())
    assert framelane("doctor", "--only", "nonsense").returncode == 2


def test_models_list_and_check():
    listed = framelane("models", "list").stdout
    assert "nanodet" in listed
    assert "dinov2_vits14" in listed
    assert "rtdetr_r101" in listed
    assert "may not be used commercially" in listed
    assert framelane("models", "check").returncode == 0


def test_the_models_fit_into_80_columns():
    listed = framelane("models", "list", COLUMNS="80").stdout
    table = listed.split("videomae:")[0].splitlines()
    assert max(map(len, table)) <= 80
    lines = {line.split()[0]: line for line in table if line.startswith("  ") and line.split()[0].islower()}
    for entry in catalog.entries():
        assert entry.licence.split()[0].rstrip(",") in lines[entry.name]
    page = framelane("models", "list", "rtmo_s").stdout
    for part in ("OpenMMLab", "download.openmmlab.com", "framelane models fetch rtmo_s --trust", "Apache-2.0"):
        assert part in page
    assert set(re.findall(r"^(\w+) \(", framelane("models", "list", "--long").stdout, re.MULTILINE)) == {
        entry.name for entry in catalog.entries()
    }


@pytest.mark.parametrize("command", ["run", "plan", "batch"])
def test_the_help_names_every_processor(command):
    said = framelane(command, "--help").stdout
    for name in shipped():
        assert name in said


def test_the_processors_that_ship_are_those_that_register():
    code = "from framelane.processors.base import names; print(*names())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == shipped()


def test_all_that_was_made_is_listed(tmp_path):
    clip = cut(tmp_path / "clip.mp4", WALKER, seconds=0.4)
    done = framelane("run", "pose", clip, "-o", tmp_path / "o.mp4", *FAST)
    assert done.returncode == 0, done.stderr
    made = {path for path in tmp_path.iterdir() if path != clip}
    assert len(made) == 4
    for path in made:
        assert str(path) in done.stdout
    assert re.search(r"^Table   .*o\.coco\.json \(", done.stdout, re.MULTILINE)


def test_the_command_line_speaks_another_language_where_it_is_asked_to(tmp_path):
    wrong = ("run", "attention", STREET, "-o", tmp_path / "o.mp4", "--set", "pose.left_colour=blue")
    assert "is not allowed" in framelane(*wrong, LANG="es_ES.UTF-8").stderr
    spanish = framelane(*wrong, FRAMELANE_LANG="es")
    assert spanish.returncode == 2
    assert "no se admite: debe ser un color" in spanish.stderr
    clip = cut(tmp_path / "clip.mp4", seconds=0.4)
    events = tmp_path / "e.jsonl"
    done = framelane("run", "copy", clip, "-o", tmp_path / "o.mp4", *FAST, "--events", events, FRAMELANE_LANG="es")
    assert re.search(r"^Vídeo   .*o\.mp4$", done.stdout, re.MULTILINE)
    assert "fotogramas" in done.stdout
    segment = next(
        event for line in events.read_text().splitlines() if (event := json.loads(line))["event"] == "segment"
    )
    assert f"segmento {segment['index']}" in done.stderr
    assert "segmento" not in events.read_text()


def test_trust_is_said_of_a_named_model():
    done = framelane("models", "fetch", "--trust")
    assert done.returncode == 2
    assert "framelane models fetch NAME --trust" in done.stderr


def test_version():
    assert framelane("--version").stdout.startswith("framelane ")
