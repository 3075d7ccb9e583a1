"""A folder of clips: what is done, what is not, what is said of it, and what is never touched."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest

import framelane
import support.processors  # noqa: F401
from framelane.errors import Cancelled, UsageError
from framelane.jobs import batch_run, notify
from framelane.jobs.batch_run import forget_old_work
from framelane.jobs.claim import HELD
from framelane.jobs.executors import LocalExecutor
from framelane.jobs.ledger import Ledger
from framelane.jobs.owner import Owner
from framelane.jobs.state import CLAIMED, DONE_BEFORE
from support.batches import FAST, TESTS, cut, placed, six_cuts, three_cuts
from support.clips import WALKER, needs_ffmpeg
from support.read import frame_hashes

pytestmark = [needs_ffmpeg, pytest.mark.usefixtures("workplace")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of all batches, because it is that of their worker."""
    return tmp_path_factory.mktemp("cache") / "framelane"


@pytest.fixture
def workplace(tmp_path, cache, monkeypatch):
    """A folder of its own for clips and results."""
    return placed(tmp_path, cache, monkeypatch)


@pytest.fixture(scope="module")
def executor():
    """One worker for all batches: starting one takes its time."""
    made = LocalExecutor()
    made.close, end = lambda: None, made.close
    yield made
    end()


def batch(place, processor="averager", **more):
    options = {"profile": "cpu", "overrides": FAST, "output": place / "out", **more}
    return framelane.process_folder(place / "in", processor, **options)


def states(result):
    return {job.name: job.state for job in result.jobs}


def left_overs(place):
    return [path for path in (place / "out").rglob("*") if path.suffix == ".part"]


def work_of(cache):
    return {path.name for path in cache.glob("work/*")}


def test_two_clips_two_outputs_and_nothing_twice(workplace, cache, executor):
    others = work_of(cache)
    clips = {"a.mp4": cut(workplace / "in" / "a.mp4"), "sub/b.mp4": cut(workplace / "in" / "sub" / "b.mp4", WALKER)}
    events = []
    first = batch(workplace, executor=executor, progress=events.append)
    assert states(first) == {"a.mp4": "done", "sub/b.mp4": "done"}
    assert first.exit_code == 0
    for name, clip in clips.items():
        alone = framelane.process_video(
            clip, "averager", output=workplace / f"alone-{clip.name}", profile="cpu", overrides=FAST
        )
        made = workplace / "out" / name
        assert frame_hashes(made) == frame_hashes(alone.output_path)
        report = json.loads(made.with_suffix(".report.json").read_text())
        assert (report["clip"], report["output"]) == (str(clip), str(made))
    starts = [event for event in events if event["event"] == "start"]
    assert [(e["job"], e["clip"], e["output"]) for e in starts] == [
        (name, str(clip), str(workplace / "out" / name)) for name, clip in clips.items()
    ]
    inodes = {name: (workplace / "out" / name).stat() for name in clips}
    again = []
    second = batch(workplace, executor=executor, progress=again.append)
    assert [(job.state, job.reason) for job in second.jobs] == [("skipped", DONE_BEFORE)] * 2
    assert all(event["event"] == "batch" for event in again)
    assert {name: (workplace / "out" / name).stat() for name in clips} == inodes
    assert not left_overs(workplace)
    assert work_of(cache) == others, "work of finished jobs stays behind"


def test_a_bad_clip_never_stops_a_batch(workplace, executor):
    for name in ("always-1.mp4", "once-2.mp4", "z.mp4"):
        cut(workplace / "in" / name, seconds=2)
    (workplace / "in" / "cut off.mp4").write_bytes((workplace / "in" / "z.mp4").read_bytes()[:900])
    (workplace / "in" / "own.mp4").write_bytes((workplace / "in" / "z.mp4").read_bytes())
    (workplace / "in" / "own.yaml").write_text("attention: {smple_fps: 3}\n")
    (workplace / "in" / "notes.txt").write_text("no clip, and nobody thinks so")
    events = []
    result = batch(workplace, "deadly", executor=executor, progress=events.append)
    assert states(result) == {
        "always-1.mp4": "failed", "once-2.mp4": "done", "z.mp4": "done", "cut off.mp4": "failed", "own.mp4": "failed",
    }  # fmt: skip
    assert result.exit_code == 3
    why = {job.name: job.reason for job in result.jobs}
    assert "SIGSEGV" in why["always-1.mp4"]
    assert "2 times" in why["always-1.mp4"]
    assert "cut off before its index" in why["cut off.mp4"]
    assert "own.yaml" in why["own.mp4"]
    assert "attention.sample_fps" in why["own.mp4"]
    # The one whose worker was killed went on from its finished segments, and its frames are those of an easy life.
    assert [e["resumed_at_frame"] > 0 for e in events if e["event"] == "start" and e["job"] == "once-2.mp4"] == [
        False,
        True,
    ]
    assert any(e["event"] == "died" and "SIGKILL" in e["message"] for e in events)
    assert frame_hashes(workplace / "out" / "once-2.mp4") == frame_hashes(workplace / "out" / "z.mp4")


def test_own_settings_order_and_patterns(workplace, executor):
    long, short = cut(workplace / "in" / "a.mp4", seconds=2), cut(workplace / "in" / "b.mp4", seconds=0.6)
    cut(workplace / "in" / "left out" / "c.mp4")
    os.utime(long, (1, 1))
    long.with_suffix(".yaml").write_text("output: {quality: 40}\ngif: {enabled: true}\n")
    config = workplace / "mine.yaml"
    config.write_text("output: {quality: 30}\n")
    given = {key: value for key, value in FAST.items() if not key.startswith("gif")}
    result = batch(
        workplace, executor=executor, order="shortest", exclude=["left out"], config=config, overrides=given,
        mode="fast",
    )  # fmt: skip
    assert [job.name for job in result.jobs] == ["b.mp4", "a.mp4"]
    reports = {name: json.loads((workplace / "out" / f"{name}.report.json").read_text()) for name in "ab"}
    assert {name: report["settings"]["output"]["quality"] for name, report in reports.items()} == {"a": 40, "b": 30}
    assert {report["mode"] for report in reports.values()} == {"fast"}
    assert (workplace / "out" / "a.gif").exists()
    dry = batch(
        workplace, dry_run=True, order="oldest", overrides={**given, "output.quality": 12}, include=["[ab].mp4"]
    )
    assert [job.name for job in dry.jobs] == ["a.mp4", "b.mp4"]
    assert short.exists()


def test_a_dry_run_writes_nothing(workplace, cache):
    cut(workplace / "in" / "a.mp4")
    others = work_of(cache)
    result = batch(workplace, dry_run=True)
    assert states(result) == {"a.mp4": "waiting"}
    assert result.page is None
    assert [path.name for path in workplace.iterdir()] == ["in"]
    assert work_of(cache) == others


def test_changed_settings_never_overwrite_silently(workplace, executor):
    cut(workplace / "in" / "a.mp4")
    batch(workplace, executor=executor)
    made = workplace / "out" / "a.mp4"
    before = frame_hashes(made)
    changed = {**FAST, "output.quality": 45}
    second = batch(workplace, executor=executor, overrides=changed)
    assert states(second) == {"a.mp4": "skipped"}
    assert "--restart" in second.jobs[0].reason
    assert frame_hashes(made) == before
    # Batch sizes, thread counts and the profile's name change no result: they are the same job.
    same = batch(workplace, executor=executor, overrides={**FAST, "hardware.batch_size": 2, "hardware.threads": 2})
    assert same.jobs[0].reason == DONE_BEFORE
    third = batch(workplace, executor=executor, overrides=changed, restart=True)
    assert states(third) == {"a.mp4": "done"}
    assert frame_hashes(made) != before
    assert batch(workplace, executor=executor, overrides=changed).jobs[0].reason == DONE_BEFORE


@pytest.mark.parametrize("name", ["a.mp4", "a.report.json", "a.gif"])
def test_files_of_others_are_left_alone(workplace, name):
    cut(workplace / "in" / "a.mp4")
    (workplace / "out").mkdir()
    (workplace / "out" / name).write_text("mine")
    result = batch(workplace)
    assert states(result) == {"a.mp4": "failed"}
    assert "was not made by this batch" in result.jobs[0].reason
    assert (workplace / "out" / name).read_text() == "mine"


def test_a_page_that_is_not_ours_stays(workplace, executor):
    cut(workplace / "in" / "a.mp4")
    (workplace / "out").mkdir()
    (workplace / "out" / "index.html").write_text("<h1>my own</h1>")
    events = []
    result = batch(workplace, executor=executor, progress=events.append)
    assert (states(result), result.page) == ({"a.mp4": "done"}, None)
    assert (workplace / "out" / "index.html").read_text() == "<h1>my own</h1>"
    assert any(e["event"] == "warning" and "index.html" in e["message"] for e in events)


def test_the_page_shows_what_earlier_batches_finished_in_the_folder(workplace, executor):
    cut(workplace / "in" / "a.mp4")
    shutil.copy(workplace / "in" / "a.mp4", workplace / "in" / "b.mp4")
    batch(workplace, executor=executor)
    result = batch(workplace, executor=executor, include=["a.mp4"], restart=True)
    assert states(result) == {"a.mp4": "done"}
    text = result.page.read_text()
    assert [text.count(f"{name}.mp4</a>") == 1 for name in "ab"] == [True, True]
    (workplace / "out" / "b.mp4").unlink()
    assert "b.mp4" not in batch(workplace, executor=executor, include=["a.mp4"]).page.read_text()


def test_parts_of_another_machine_go_with_the_batch_if_they_stand_still(workplace, executor, monkeypatch):
    monkeypatch.setattr(batch_run, "Ledger", functools.partial(Ledger, expiry_s=0.05))
    cut(workplace / "in" / "a.mp4")
    (workplace / "out" / "sub").mkdir(parents=True)
    part = workplace / "out" / "sub" / f".framelane-{'0' * 16}-{'ab' * 5}-17-99.part"
    part.write_bytes(b"half of a result")
    assert states(batch(workplace, executor=executor)) == {"a.mp4": "done"}
    assert not part.exists()


def test_a_lost_output_is_made_again(workplace, executor):
    cut(workplace / "in" / "a.mp4")
    batch(workplace, executor=executor)
    made = workplace / "out" / "a.mp4"
    made.write_bytes(made.read_bytes()[:-10])
    assert states(batch(workplace, executor=executor)) == {"a.mp4": "done"}
    assert len(frame_hashes(made)) > 0


def test_cancelled_batches_go_on(workplace, executor):
    for name, seconds in (("a", 0.5), ("b", 2), ("c", 0.5)):
        cut(workplace / "in" / f"{name}.mp4", seconds=seconds)
    cancel, events = threading.Event(), []

    def listen(event):
        events.append(event)
        if event["event"] == "segment" and event["job"] == "b.mp4":
            cancel.set()

    with pytest.raises(Cancelled):
        batch(workplace, "slowest_averager", executor=executor, progress=listen, cancel=cancel)
    last = [event for event in events if event["event"] == "batch"][-1]
    assert {row["job"]: row["state"] for row in last["list"]} == {
        "a.mp4": "done",
        "b.mp4": "waiting",
        "c.mp4": "waiting",
    }
    assert not (workplace / "out" / "b.mp4").exists()
    assert (workplace / "out" / "index.html").exists()
    again = []
    assert states(batch(workplace, "slowest_averager", executor=executor, progress=again.append)) == {
        "a.mp4": "skipped", "b.mp4": "done", "c.mp4": "done",
    }  # fmt: skip
    started = {e["job"]: e["resumed_at_frame"] for e in again if e["event"] == "start"}
    assert list(started) == ["b.mp4", "c.mp4"]
    assert started["b.mp4"] > 0


def test_a_clip_that_vanishes_while_the_batch_runs(workplace, executor):
    for name in "abc":
        cut(workplace / "in" / f"{name}.mp4")

    def listen(event):
        if event["event"] == "start" and event["job"] == "a.mp4":
            (workplace / "in" / "b.mp4").unlink()

    result = batch(workplace, executor=executor, progress=listen)
    assert states(result) == {"a.mp4": "done", "b.mp4": "failed", "c.mp4": "done"}
    assert "b.mp4" in result.jobs[1].reason


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; whoever may not mount one skips."""
    place = tmp_path / "out"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("when", ["begins", "done"])
def test_a_clip_that_changes_while_the_batch_runs_is_not_recorded(workplace, executor, when):
    """Its identity is of what it held when the folder was searched: a record of it would be of another clip."""
    clip = cut(workplace / "in" / "a.mp4")
    other = cut(workplace / "other.mp4", WALKER)

    def change(event):
        if event.get("phase") == when or event["event"] == when:
            shutil.copy(other, clip)

    first = batch(workplace, executor=executor, progress=change)
    assert states(first) == {"a.mp4": "failed"}
    assert "changed" in first.jobs[0].reason
    assert not list((workplace / "out").rglob("records/*.json"))
    restart = "--restart --include a.mp4" in first.jobs[0].reason
    assert restart == (when == "done")
    assert states(batch(workplace, executor=executor, restart=restart)) == {"a.mp4": "done"}
    assert len(frame_hashes(workplace / "out" / "a.mp4")) == len(frame_hashes(other))


def test_a_clip_that_is_only_touched_is_no_other_clip(workplace, executor):
    clip = cut(workplace / "in" / "a.mp4")

    def touch(event):
        if event["event"] == "done":
            os.utime(clip, (1, 1))

    assert states(batch(workplace, executor=executor, progress=touch)) == {"a.mp4": "done"}


def test_a_full_output_disk_loses_nothing(workplace, executor, small_disk):
    cut(workplace / "in" / "a.mp4", seconds=2)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(980_000))
    result = batch(workplace, executor=executor)
    assert states(result) == {"a.mp4": "failed"}
    assert "full" in result.jobs[0].reason
    assert not [path for path in small_disk.rglob("*") if path.suffix in (".part", ".mp4")]
    filler.unlink()
    assert states(batch(workplace, executor=executor)) == {"a.mp4": "done"}


def test_a_read_only_output_is_a_sentence(workplace, executor, small_disk):
    cut(workplace / "in" / "a.mp4")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = batch(workplace, executor=executor)
    assert states(result) == {"a.mp4": "failed"}
    assert "could not be written" in result.jobs[0].reason


def test_old_work_is_forgotten(tmp_path):
    for name, days in (("old", 40), ("new", 1)):
        inner = tmp_path / "work" / name / ".out.mp4.framelane" / "segment-000000"
        inner.mkdir(parents=True)
        for path in (inner, inner.parent, inner.parent.parent):
            os.utime(path, (time.time() - days * 86_400,) * 2)
    forget_old_work(tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["new"]


def test_two_runners_share_a_folder(workplace):
    """A claim that a living process holds keeps the job for it; every job is done once."""
    six_cuts(workplace / "in")
    seen = {name: [] for name in ("one", "two")}
    results = {}

    def run(name):
        results[name] = batch(workplace, "slow_averager", progress=seen[name].append)

    threads = [threading.Thread(target=run, args=(name,)) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [job.name for result in results.values() for job in result.jobs if job.state == "done"]
    assert sorted(done) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "sub/e.mp4", "sub/f.mp4"]
    started = [e["job"] for events in seen.values() for e in events if e["event"] == "start"]
    assert sorted(started) == sorted(done)
    reasons = {job.reason for result in results.values() for job in result.jobs if job.state == "skipped"}
    assert reasons <= {DONE_BEFORE, "Another runner works on it."}
    assert not left_overs(workplace)


def test_two_runners_into_two_folders_do_not_meet(workplace):
    """The same clips, settings and identities, at the same time: each runner has work of its own."""
    three_cuts(workplace / "in")
    results = {}

    def run(name):
        results[name] = batch(workplace, "slow_averager", output=workplace / name)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, result in results.items():
        assert [(job.state, job.reason) for job in result.jobs] == [("done", "")] * 3
        reports = [json.loads(path.read_text()) for path in (workplace / name).rglob("*.report.json")]
        assert sorted(report["output"] for report in reports) == sorted(str(job.output) for job in result.jobs)


def claimed_elsewhere(place, *, signs):
    """A claim on the one job of a batch by a process of another machine, which lives as long as ``signs`` is not set."""
    identity = batch(place, dry_run=True).jobs[0].spec.identity
    claims = Ledger(place / "out", expiry_s=2).claims
    claims.owner = lambda: Owner("another machine", "of another boot", "", 1, "1")
    claim = claims.take(identity)
    HELD.discard(claim.token)  # not of this process

    def live():
        while not signs.wait(0.2):
            claim.beat()

    thread = threading.Thread(target=live)
    thread.start()
    return thread


@pytest.mark.parametrize("alive", [True, False])
def test_a_claim_of_another_machine_holds_while_that_one_lives(workplace, executor, monkeypatch, alive):
    """A session that was taken away leaves a claim like that of one that works: the next session must find out."""
    for name in "ab":
        cut(workplace / "in" / f"{name}.mp4")
    (workplace / "out").mkdir()
    monkeypatch.setattr(batch_run, "Ledger", functools.partial(Ledger, expiry_s=2))
    signs, events = threading.Event(), []
    if not alive:
        signs.set()
    thread = claimed_elsewhere(workplace, signs=signs)
    try:
        result = batch(workplace, executor=executor, progress=events.append)
    finally:
        signs.set()
        thread.join()
    first, second = result.jobs
    assert (second.state, second.reason) == ("done", ""), "no job waits for another one's claim"
    assert first.state == ("skipped" if alive else "done"), first.reason
    assert first.reason == (CLAIMED if alive else "")
    done = [event["job"] for event in events if event["event"] == "done"]
    assert done == (["b.mp4"] if alive else ["b.mp4", "a.mp4"])


def test_a_claim_without_content_is_soon_abandoned(workplace, executor, monkeypatch):
    """Its process was killed between making the file and writing it."""
    cut(workplace / "in" / "a.mp4")
    monkeypatch.setattr(batch_run, "Ledger", functools.partial(Ledger, expiry_s=6))
    identity = batch(workplace, dry_run=True).jobs[0].spec.identity
    claims = workplace / "out" / ".framelane" / "claims"
    claims.mkdir(parents=True)
    (claims / f"{identity}.json").touch()
    assert states(batch(workplace, executor=executor)) == {"a.mp4": "done"}
    assert not list(claims.iterdir())


def test_wrong_usage_starts_nothing(workplace):
    cases = [
        ({"processor": "atention"}, "attention"),
        ({"overrides": {"gif.enabld": 1}}, "gif.enabled"),
        ({"order": "longest"}, "shortest"),
        ({"budget": "soon"}, "80m"),
        ({"executor": "slurm"}, "ray"),
        ({"on_done": "tell 'me"}, "--on-done"),
        ({"on_done": "tell {me}"}, "{done}"),
        ({"mode": "warp"}, "balanced"),
    ]
    cut(workplace / "in" / "a.mp4")
    for given, wanted in cases:
        with pytest.raises(UsageError, match=wanted.replace("{", "\\{")):
            batch(workplace, **given)
    empty = workplace / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no clip"):
        framelane.process_folder(empty, "copy", output=workplace / "out")
    assert not (workplace / "out").exists()


def test_the_budget_splits_at_a_segment_and_the_next_session_goes_on(workplace, executor, monkeypatch):
    """The session has time for two segments and a half: a part of the first job fits, and nothing of the second."""
    longer = {**FAST, "engine.segment_seconds": 1}
    for name in "ab":
        cut(workplace / "in" / f"{name}.mp4", seconds=4)
    plans, events, enough = [], [], threading.Event()

    def measured(plan):
        plans.append(plan)
        enough.set()

    # Measured first, so that what fits can be set from what this machine really needs.
    with pytest.raises(Cancelled):
        batch(
            workplace,
            "slowest_averager",
            overrides=longer,
            executor=executor,
            budget="10h",
            planned=measured,
            cancel=enough,
        )
    shutil.rmtree(workplace / "out")
    job = plans[0].jobs[0]
    monkeypatch.setenv("FRAMELANE_RUNTIME_START", str(time.time() - 3600 + 2.5 * job.segment_s))
    result = batch(
        workplace,
        "slowest_averager",
        overrides=longer,
        executor=executor,
        budget="60m",
        planned=plans.append,
        progress=events.append,
    )
    assert [job.state for job in result.jobs] == ["waiting", "waiting"], [job.reason for job in result.jobs]
    finished = sum(e["event"] == "segment" for e in events)
    assert 1 <= finished < job.segments
    assert "the same command goes on" in result.jobs[0].reason
    assert "Next time" in result.jobs[1].reason
    assert result.exit_code == 0
    monkeypatch.delenv("FRAMELANE_RUNTIME_START")
    again = []
    assert states(batch(workplace, "slowest_averager", overrides=longer, executor=executor, progress=again.append)) == {
        "a.mp4": "done", "b.mp4": "done",
    }  # fmt: skip
    assert next(e for e in again if e["event"] == "start")["resumed_at_frame"] > 0


# -- telling somebody ------------------------------------------------------------------------------------------------


SUMMARY = {"done": 2, "failed": 0, "skipped": 1, "waiting": 0, "out": "/a b/'c'", "page": "/a b/index.html"}


def test_commands_are_argument_lists():
    words = notify.command(["tell", "{done} of {out}", "{{kept}}", "$HOME;ls"], SUMMARY)
    assert words == ["tell", "2 of /a b/'c'", "{kept}", "$HOME;ls"]


def test_the_hook_runs_without_a_shell(tmp_path):
    script = "import sys, json; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
    told = notify.hook(f"{sys.executable} -c {json.dumps(script)} '{tmp_path}/x' {{out}} '{{done}};$(id)' *")
    assert told(SUMMARY) is None
    assert json.loads((tmp_path / "x").read_text()) == ["/a b/'c'", "2;$(id)", "*"]


def test_a_hook_that_fails_is_a_sentence(tmp_path):
    assert "could not be run" in notify.hook(str(tmp_path / "nothing"))(SUMMARY)
    assert "exit code 4: no way" in notify.hook(
        f'{sys.executable} -c \'exit(4) if print("no way", file=__import__("sys").stderr) is None else 0\''
    )(SUMMARY)


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        got: ClassVar = []

        def do_POST(self):
            self.got.append(
                (self.path, self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response({"/moved": 302, "/broken": 500}.get(self.path.partition("?")[0], 204))
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}", Handler.got
        made.shutdown()


def test_a_web_address_is_told(server):
    address, got = server
    assert notify.hook(f"{address}/here")(SUMMARY) is None
    path, kind, body = got[0]
    assert (path, kind, json.loads(body)) == ("/here", "application/json", SUMMARY)
    for path in ("broken", "moved?token=secret"):
        said = notify.hook(f"{address}/{path}")(SUMMARY)
        assert said
        assert "secret" not in said
    assert "/elsewhere" not in [path for path, *_ in got]


def test_a_failing_hook_is_a_warning(workplace, executor):
    cut(workplace / "in" / "a.mp4")
    events = []
    result = batch(workplace, "copy", executor=executor, on_done=str(workplace / "nothing"), progress=events.append)
    assert result.exit_code == 0
    assert events[-1]["event"] == "warning"
    assert "--on-done" in events[-1]["message"]


# -- the command -----------------------------------------------------------------------------------------------------


def command(place, processor, *more, **options):
    sets = [part for key, value in FAST.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return subprocess.Popen(
        [sys.executable, "-m", "support.cli", "batch", processor, str(place / "in"), "-o", str(place / "out"),
         "--profile", "cpu", "--budget", "none", *sets, *more],
        cwd=TESTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        **options,
    )  # fmt: skip


def test_the_command_ends_with_3_where_some_failed(workplace):
    cut(workplace / "in" / "a\nb [red]x[/red].mp4")
    (workplace / "in" / "broken.mp4").write_bytes(b"no")
    job = command(workplace, "copy", "--events", str(workplace / "events.jsonl"))
    out, err = job.communicate(timeout=300)
    assert job.returncode == 3, err
    assert "1 done, 1 failed" in out
    assert "[red]x[/red]" in out
    assert "Traceback" not in err
    kinds = {json.loads(line)["event"] for line in (workplace / "events.jsonl").read_text().splitlines()}
    assert {"batch", "start", "segment", "done"} <= kinds


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(workplace):
    cut(workplace / "in" / "a.mp4", seconds=3)
    events = workplace / "events.jsonl"
    job = command(workplace, "slowest_averager", "--events", str(events))
    until = time.monotonic() + 120
    while time.monotonic() < until and not (events.exists() and '"segment"' in events.read_text()):
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does it
    _, err = job.communicate(timeout=120)
    assert job.returncode == 130, err
    assert "the same command goes on" in err
    again = command(workplace, "slowest_averager", "--events", str(events))
    assert again.wait(timeout=120) == 0
    start = next(e for e in map(json.loads, events.read_text().splitlines()) if e["event"] == "start")
    assert start["resumed_at_frame"] > 0
