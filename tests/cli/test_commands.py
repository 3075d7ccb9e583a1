"""The commands themselves: events, settings, doctor, models."""

from __future__ import annotations

import json
import re

from cli.test_bad_input import FAST, framelane
from framelane import settings
from support.clips import STREET


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
    assert set(lines) == {key for key, _ in settings.fields()}
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


def test_trust_is_said_of_a_named_model():
    done = framelane("models", "fetch", "--trust")
    assert done.returncode == 2
    assert "framelane models fetch NAME --trust" in done.stderr


def test_version():
    assert framelane("--version").stdout.startswith("framelane ")
