"""What goes into a bug report names nobody: hostile names, folders with spaces, marks that would leave the block."""

from __future__ import annotations

import re

import pytest

from framelane.doctor import paste
from framelane.doctor.redact import Secrets, redact, secrets_here

UUID = "GPU-8a3c1f52-9d1e-4b7a-8f0e-1c2d3e4f5a6b"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alice", "Permission denied for alice on alices-laptop"),
        ("Alice", "owner ALICE, group alice"),
        ("José", "cannot open Jose\u0301's file"),  # decomposed, as macOS writes it
        ("José", "b'Jos\\xe9' was refused"),  # as repr() of ascii writes it
        ("ana", "ana@host refused; ana-pc; (ana)"),
        ("a.b*c(d", "user a.b*c(d failed"),  # a pattern's own signs
        ("bob|.*", "bob|.* failed"),
        ("eve`\n```\n# Owned", "user eve`\n```\n# Owned failed"),
        ("mallory\u202e", "from mallory\u202e here"),  # turns the rest of the line around
        ("Zoë Müller", "account Zoë Müller has no rights; url Zo%C3%AB%20M%C3%BCller"),
        ("x" * 200, f"host {'x' * 200} is down"),
    ],
)
def test_a_hostile_name_goes(name, text):
    shown = redact(text, Secrets((name,)))
    plain = name.split("`")[0].strip("\u202e")
    assert not re.search(rf"(?<![^\W_]){re.escape(plain)}", shown, re.IGNORECASE)
    assert "<name>" in shown
    assert not set(shown) & {"`", "\n", "\u202e"}


def test_a_short_name_leaves_other_words_alone():
    assert redact("analysis of an animation by ana", Secrets(("ana", "an"))) == "analysis of <name> animation by <name>"


def test_names_that_everybody_has_stay():
    assert redact("root on localhost", Secrets(("root", "localhost"))) == "root on localhost"


def test_what_was_put_in_is_not_looked_at_again():
    secrets = Secrets(("names", "folder", "drive"), (("/mnt/drive", "<drive>"),))
    assert redact("at /mnt/drive of names", secrets) == "at <drive> of <name>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "64 MiB written to /content/drive/MyDrive and synced at 9 MB/s",
            "64 MiB written to <drive> and synced at 9 MB/s",
        ),
        ("No such file: '/content/drive/MyDrive/Mi carpeta/boda de Ana.mp4'", "No such file: '<drive>'"),
        ("lost /content/drive/MyDrive/Mi carpeta/boda de Ana.mp4", "lost <drive>"),
        ("in /home/carol/Secret Project/x and more", "in <home>"),
        ("(OSError: [Errno 2] '/home/other person/y')", "(OSError: [Errno 2] '<quoted>')"),
        ("at /home/other/y z", "at <personal>"),
        ("at /srv/Acme Corp/clip one.mp4 now", "at <path> now"),
        ("from C:\\Users\\carol\\x.mp4", "from <path>"),
        ("under ~/clips/wedding", "under <path>"),
        ("Shareddrives/Acme legal/a.mp4", "<folder>"),
        ("/usr/lib/libcuda.so.1 and /dev/nvidia0 stay", "/usr/lib/libcuda.so.1 and /dev/nvidia0 stay"),
        ("enc/dec at 5 MB/s, 3/4 of it", "enc/dec at 5 MB/s, 3/4 of it"),
        ("rtsp://carol:secret@cam.local/1 refused", "<url> refused"),
        ("write to carol@example.org.", "write to <email>."),
        (f"card {UUID}, MIG-{UUID[4:]}", "card <uuid>, <uuid>"),
        ("serial 1325219025083, eth 02:42:ac:11:00:02 at 10.1.2.3", "serial <number>, eth <address> at <address>"),
        ("from fe80::1ff:fe23:4567:890a, not std::bad_alloc", "from <ip>, not std::bad_alloc"),
        (
            "operator torchvision::nms at 16:22:19 on 0000:1e:00.0",
            "operator torchvision::nms at 16:22:19 on 0000:1e:00.0",
        ),
        ("machine 4c4c4544004b3510805ac7c04f4d5132", "machine <number>"),
        ("opencv-python 5.0.0.93, driver 580.82.07", "opencv-python 5.0.0.93, driver 580.82.07"),
        ("\x1b[31mred\x1b[0m\ttab", "[31mred [0m tab"),
    ],
)
def test_places_and_numbers_go(text, shown):
    secrets = Secrets(("carol",), (("/home/carol", "<home>"), ("/content/drive/MyDrive", "<drive>")))
    assert redact(text, secrets) == shown


def test_this_machine_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("USER", "hopper.grace")
    monkeypatch.setenv("HOSTNAME", "ship-7.navy.example")
    monkeypatch.setenv("HOME", str(tmp_path / "Grace Hopper"))
    secrets = secrets_here([str(tmp_path / "Mi Drive")], [str(tmp_path / "out put")])
    text = f"{tmp_path}/Grace Hopper/a b.mp4"
    assert redact(text, secrets) == "<home>"
    assert redact(f"to {tmp_path}/Mi Drive", secrets) == "to <drive>"
    assert redact(f"to {tmp_path}/out put", secrets) == "to <folder>"
    assert redact("hopper.grace at ship-7.navy.example", secrets) == "<name> at <name>"
    assert redact("Hopper on ship-7", secrets) == "<name> on <name>"


def test_the_block_of_a_hostile_machine(monkeypatch):
    """Every text of the report that the machine decides is hostile; the block shows none of it."""
    names = ("mallory", "evil-host")
    poison = f"mallory's evil-host at /home/mallory/x y, {UUID}, ```\n# mallory"
    finding = {"name": "Drive", "status": "error", "evidence": poison * 3, "fix": poison, "figures": {"folder": poison}}
    report = {
        "deep": True, "date": "2026-11-21", "profile": {"name": "t4", "why": poison}, "models": {"rows": [], "error": None},
        "versions": {
            "framelane": "0.1.0", "system": f"Linux {poison}", "python": "3.11", "packages": {"torch": "2.11.0"},
            "ffmpeg": {"libavcodec": "62.28.102"}, "providers": [],
        },
        "hardware": {
            "cpu": poison, "cores": 2, "cores_usable": 2, "ram_available": 1, "ram_total": 2, "gpu": None,
            "gpu_reason": poison,
        },
        "findings": [finding],
    }  # fmt: skip
    block = paste.block(report, Secrets(names, (("/home/mallory", "<home>"),)))
    lines = block.splitlines()
    assert [line for line in lines if "`" in line] == ["```text", "```"]
    assert max(map(len, lines)) <= paste.WIDTH
    whole = "".join(block.split())
    assert not [word for word in ("mallory", "evil", "x y", UUID[4:12], UUID) if word in whole]
