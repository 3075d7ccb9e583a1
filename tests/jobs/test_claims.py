"""Claims: never two holders, abandoned ones are taken over, and clocks of two machines are never compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from framelane.errors import FramelaneError
from framelane.jobs.claims import Claims
from framelane.jobs.files import LOCAL, Files
from framelane.jobs.ledger import Ledger
from framelane.jobs.owner import Owner
from support.drive import Drive

TESTS = Path(__file__).parents[1]
ID = "0" * 64


def machine(folder, name, clock, files=LOCAL, expiry=60.0, pid=7):
    """The claims as another machine sees them: same folder, own name, own clock."""
    return Claims(folder, files, expiry_s=expiry, beat_s=expiry / 6, clock=clock,
                  owner=lambda: Owner(name, "boot", "pid:[1]", pid, "5"))  # fmt: skip


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def clock(now):
    return lambda: now[0]


def test_a_job_is_claimed_once_and_free_again_when_released(tmp_path, clock):
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    claim = a.take(ID)
    assert claim
    assert b.take(ID) is None
    assert a.take(ID) is None
    assert b.holder(ID).owner.host == "a"
    assert b.take("1" * 64)
    claim.release()
    assert not claim.beat()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(ID)] == []
    assert b.take(ID)


class WrittenUnderOurEyes(Files):
    """Somebody else was faster, and writes the claim's content between our read of it and our look at its size."""

    def __init__(self, content):
        super().__init__(waits=(0.0,) * 3)
        self.content_of_the_other = content
        self.made = self.written = False

    def open(self, path, mode):
        if mode == "xb" and not self.made:
            self.made = True
            path.touch()
        return super().open(path, mode)

    def size(self, path):
        if self.made and not self.written and path.suffix == ".json":
            self.written = True
            path.write_bytes(self.content_of_the_other)
        return super().size(path)


def test_who_is_second_reads_the_claim_while_it_is_being_written(tmp_path, clock):
    other = machine(tmp_path / "theirs", "a", clock)
    assert other.take(ID)
    files = WrittenUnderOurEyes((tmp_path / "theirs" / f"{ID}.json").read_bytes())
    assert machine(tmp_path / "ours", "b", clock, files).take(ID) is None
    assert files.written
    assert machine(tmp_path / "ours", "b", clock).holder(ID).owner.host == "a"


def test_another_machines_claim_is_taken_over_only_after_standing_still_under_our_eyes(tmp_path, now, clock):
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    claim = a.take(ID)
    now[0] += 10_000  # however long it was so before b came
    assert b.take(ID) is None
    now[0] += 59
    assert b.take(ID) is None
    assert claim.beat()
    now[0] += 59
    assert b.take(ID) is None
    now[0] += 59
    assert b.take(ID) is None
    now[0] += 1
    taken = b.take(ID)
    assert taken, "nothing had changed for 60 s"
    assert not claim.beat()
    assert claim.lost
    claim.release()
    assert taken.beat(), "the loser's release does not touch the winner's claim"
    taken.release()
    a.sweep()
    assert list(tmp_path.iterdir()) == []


def test_the_clocks_of_two_machines_are_never_compared(tmp_path):
    """One machine's clock is days ahead or behind, and the files' times are of 1970 or of 2099: nothing changes."""
    for offset in (-1e6, 0.0, 1e6):
        folder = tmp_path / str(offset)
        now = [2e6]
        a, b = machine(folder, "a", lambda: now[0] + offset), machine(folder, "b", lambda: now[0])  # noqa: B023
        assert a.take(ID)
        for path in folder.iterdir():
            os.utime(path, (4e9, 4e9) if offset > 0 else (0, 0))
        assert b.take(ID) is None
        now[0] += 59.9
        assert b.take(ID) is None
        now[0] += 0.2
        assert b.take(ID)


def test_all_claims_are_watched_from_the_first_look_on(tmp_path, now, clock):
    """A dead session's claims expire together, not one after the other as their turns come."""
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    others = [f"{n:064x}" for n in range(1, 6)]
    for identity in others:
        assert a.take(identity)
    assert b.take(ID)
    now[0] += 60
    assert all(b.take(identity) for identity in others)


def test_of_two_that_find_a_claim_abandoned_one_gets_it(tmp_path, now, clock):
    a, b, c = (machine(tmp_path, name, clock) for name in "abc")
    assert a.take(ID)
    assert b.take(ID) is None
    assert c.take(ID) is None
    now[0] += 60
    # Both have seen enough. c reads the chain before b claims, and claims after it: held at that very point.
    chain = c.chain(ID)
    assert b.take(ID)
    c.chain = lambda identity, files=None: chain
    assert c.take(ID) is None
    del c.chain
    assert c.holder(ID).owner.host == "b"


def test_a_claim_released_and_made_anew_while_another_looks_is_not_taken_for_the_old_one(tmp_path, now, clock):
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    first = a.take(ID)
    assert b.take(ID) is None
    now[0] += 59
    first.release()
    again = a.take(ID)
    now[0] += 59
    assert b.take(ID) is None
    assert again.beat()


def test_a_claim_that_changes_hands_between_two_looks_is_not_taken_for_the_old_one(tmp_path, now, clock):
    """At the worst moment: b has seen the old one stand still for long enough, and has not yet read the new one."""
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    first, watch, again = a.take(ID), b._watch, []

    def watch_and_then(identity):
        listing = watch(identity)
        if clock() > 1000:
            first.release()
            again.append(a.take(ID))
        return listing

    b._watch = watch_and_then
    assert b.take(ID) is None
    now[0] += 61
    assert b.take(ID) is None
    assert again[0].beat()


def test_of_two_that_find_a_job_free_one_gets_it(tmp_path, clock):
    """At the worst moment: b has seen that there is no claim, and a makes one before b does."""
    a, first = machine(tmp_path, "a", clock), []

    class Late(Files):
        def open(self, path, mode):
            if mode != "rb" and not first:
                first.append(a.take(ID))
            return super().open(path, mode)

    b = machine(tmp_path, "b", clock, Late())
    assert b.take(ID) is None
    assert first[0].beat()
    assert b.holder(ID).owner.host == "a"


def test_a_damaged_claim_waits_for_its_writer_and_expires(tmp_path, now, clock):
    for number, data in enumerate([b"", b'{"token": "12', b"[]", b'{"token": "../../etc/passwd"}', b"\xff"]):
        identity = f"{number:064x}"
        (tmp_path / f"{identity}.json").write_bytes(data)
        b = machine(tmp_path, "b", clock)
        assert b.take(identity) is None
        now[0] += 60
        assert b.take(identity), data


def test_a_claim_whose_file_the_storage_lost_is_made_again(tmp_path, clock):
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    claim = a.take(ID)
    (tmp_path / f"{ID}.json").unlink()
    assert claim.beat()
    assert b.take(ID) is None
    (tmp_path / f"{ID}.json").unlink()
    other = b.take(ID)
    assert other, "nothing says that a has it"
    assert not claim.beat()
    assert other.beat()


def test_a_claim_that_reads_damaged_just_now_is_not_taken_for_lost(tmp_path, clock):
    claim = machine(tmp_path, "a", clock).take(ID)
    path = tmp_path / f"{ID}.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert claim.beat()
    path.write_bytes(whole)
    assert claim.beat()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_storage_that_does_not_answer_for_a_while_loses_no_claim(tmp_path, clock):
    drive = Drive()
    claim = machine(tmp_path, "a", clock, drive).take(ID)
    drive.state.dies_after = 0
    slept = drive.slept
    assert claim.beat()
    assert not claim.lost
    assert drive.slept == slept, "a heartbeat does not wait: the next one comes"
    drive.heal()
    assert claim.beat()


def test_as_a_context_manager_it_beats_and_releases(tmp_path):
    claims = Claims(tmp_path, LOCAL, expiry_s=60, beat_s=0.01)
    with claims.take(ID) as claim:
        seen = set()
        while len(seen) < 5:
            seen.update(path.name for path in tmp_path.glob("*.beat"))
        assert not claim.lost
        assert len(list(tmp_path.glob("*.beat"))) <= 2, "one heartbeat gives way to the next"
    assert list(tmp_path.iterdir()) == []


def test_what_abandoned_claims_left_is_swept_and_live_ones_are_not(tmp_path, now, clock):
    a, b = machine(tmp_path, "a", clock), machine(tmp_path, "b", clock)
    assert a.take(ID)
    live = a.take("1" * 64)
    (tmp_path / f"{'2' * 64}.0123456789abcdef.json").write_text("{}")  # of a chain whose first link is gone
    (tmp_path / f"{'2' * 64}.0123456789abcdef-000003.beat").touch()
    (tmp_path / "notes.txt").touch()
    b.sweep()
    now[0] += 61
    live.beat()
    b.sweep()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{'1' * 64}.json", f"{'1' * 64}.{live.token}-000002.beat", "notes.txt"}
    assert live.beat()


# -- any order of steps -------------------------------------------------------------------------------------------------


class Race(RuleBasedStateMachine):
    """Three machines that claim, beat, fall silent, wake and release in any order: never two that both hold.

    A machine that was silent for longer than the expiry may believe that it holds until its next beat, so holding is
    what a beat says, and in ``settled`` all of them beat.
    """

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.machines = [machine(Path(self.folder.name), name, lambda: self.now) for name in "abc"]
        self.claims = [None, None, None]

    @rule(who=st.integers(0, 2))
    def take(self, who):
        if self.claims[who] is None:
            self.claims[who] = self.machines[who].take(ID)

    @rule(who=st.integers(0, 2))
    def beat(self, who):
        if self.claims[who] is not None and not self.claims[who].beat():
            self.claims[who] = None

    @rule()
    def settled(self):
        for who in range(3):
            self.beat(who)
        assert sum(claim is not None for claim in self.claims) <= 1

    @rule(who=st.integers(0, 2))
    def release(self, who):
        if self.claims[who] is not None:
            self.claims[who].release()
            self.claims[who] = None

    @rule(who=st.integers(0, 2))
    def sweep(self, who):
        self.machines[who].sweep()

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: hasattr(self, "claims"))
    @invariant()
    def at_most_one_holds(self):
        chain = self.machines[0].chain(ID)
        tokens = [claim.token for claim in self.claims if claim]
        assert tokens.count(chain[-1].token if chain else None) <= 1

    def teardown(self):
        for claim in getattr(self, "claims", []):
            if claim:
                claim.release()
        if hasattr(self, "folder"):
            self.now += 61
            for _ in range(2):
                self.machines[0].sweep()
                self.now += 61
            assert os.listdir(self.folder.name) == []
            self.folder.cleanup()


TestRace = Race.TestCase
TestRace.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.05, 0.2, 0.5]))
def test_on_a_failing_drive_there_is_never_more_than_one_holder(seed, rate):
    with tempfile.TemporaryDirectory() as name:
        now = [0.0]
        drives = [Drive(seed + n, rate) for n in range(3)]
        machines = [machine(Path(name), "abc"[n], lambda: now[0], drives[n]) for n in range(3)]
        claims = [None, None, None]
        for step in range(12):
            who = step % 3
            now[0] += 25.0
            try:
                if claims[who] is None:
                    claims[who] = machines[who].take(ID)
                elif not claims[who].beat():
                    claims[who] = None
            except FramelaneError:
                continue
        for drive in drives:
            drive.heal()
        assert sum(claim is not None and claim.beat() for claim in claims) <= 1


# -- real processes -----------------------------------------------------------------------------------------------------

_RUNNER = """
import sys, time
from pathlib import Path
from framelane.jobs.ledger import JobRecord, Ledger
from framelane.jobs.storage import ship
out, stage, name, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
ledger = Ledger(out)
identities = [f"{n:064x}" for n in range(count)]
print("ready", flush=True)
sys.stdin.readline()
while not all(ledger.finished(identity) for identity in identities):
    for identity in identities:
        if ledger.finished(identity):
            continue
        claim = ledger.claim(identity)
        if claim is None:
            continue
        with claim:
            print(f"did {identity}", flush=True)
            local = stage / f"{name}-{identity}"
            local.write_text(name + identity)
            time.sleep(0.03)  # some work: who waits half a second for a claim's content still finds something to do
            content = ship(local, out / "sub" / f"{identity}.mp4")
            ledger.record(JobRecord(identity, "a", f"sub/{identity}.mp4", content.size, content.sha256, "copy"))
    time.sleep(0.01)
"""


def runners(tmp_path, names, count):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", _RUNNER, str(tmp_path / "out"), str(tmp_path), name, str(count)],
            cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in names
    ]  # fmt: skip
    for job in jobs:
        assert job.stdout.readline() == "ready\n"
    return jobs


def test_two_real_processes_racing_over_fifty_jobs_do_each_once(tmp_path):
    jobs = runners(tmp_path, ["a", "b"], 50)
    for job in jobs:
        job.stdin.write("go\n")
        job.stdin.flush()
    done = [job.communicate(timeout=120)[0].split("did ")[1:] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    all_done = sorted(line.strip() for lines in done for line in lines)
    assert all_done == [f"{n:064x}" for n in range(50)]
    assert all(done), "only one of them did anything: no race"
    assert len(Ledger(tmp_path / "out").records()) == 50
    assert list((tmp_path / "out" / ".framelane" / "claims").iterdir()) == []


_HOLD = """
import sys, time
from pathlib import Path
from framelane.jobs.ledger import Ledger
claim = Ledger(Path(sys.argv[1]), expiry_s=1e9).claim("0" * 64)
print(claim is not None, flush=True)
time.sleep(600)
"""


def test_the_claim_of_a_killed_process_of_this_machine_is_free_at_once(tmp_path):
    ledger = Ledger(tmp_path, expiry_s=1e9)
    job = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "True\n"
    assert ledger.claim(ID) is None
    assert ledger.holder(ID).owner.pid == job.pid
    job.send_signal(signal.SIGKILL)
    job.wait()
    claim = ledger.claim(ID)
    assert claim
    claim.release()


def test_claims_of_twenty_dead_processes_in_a_row_are_taken_over_and_cleared(tmp_path):
    """Whoever takes over and dies as well: the chain grows by a link a death, and is gone with the first release."""
    ledger = Ledger(tmp_path, expiry_s=1e9)
    dead = Owner.here()
    dead = Owner(dead.host, dead.boot, dead.namespace, 2**22 + 1, "1")
    for _ in range(20):
        ledger.claims.owner = lambda: dead
        assert ledger.claim(ID)
    ledger.claims.owner = Owner.here
    claim = ledger.claim(ID)
    assert len(ledger.claims.chain(ID)) == 21
    claim.release()
    ledger.sweep()
    assert list((tmp_path / ".framelane" / "claims").iterdir()) == []


def test_a_claim_says_who_holds_it(tmp_path):
    ledger = Ledger(tmp_path)
    with ledger.claim(ID):
        data = json.loads((tmp_path / ".framelane" / "claims" / f"{ID}.json").read_text())
        assert data["pid"] == os.getpid()
        assert data["since"][:2] == "20"
        assert ledger.holder(ID).since == data["since"]
