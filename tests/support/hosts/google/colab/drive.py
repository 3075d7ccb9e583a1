"""google/colab/drive.py: what it refuses, in its words; Drive is a folder that is linked to the mount point."""

import os
import shutil
import tempfile

from google.colab import _message, _standin

__all__ = ["flush_and_unmount", "mount"]


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    _standin.calls.append(("mount", mountpoint, force_remount))
    if " " in mountpoint:
        raise ValueError("Mountpoint must not contain a space.")
    home = os.path.join(mountpoint, "MyDrive")
    if not force_remount and os.path.isdir(home):
        print(
            f"Drive already mounted at {mountpoint}; to attempt to forcibly remount, call "
            f'drive.mount("{mountpoint}", force_remount=True).'
        )
        return
    outcomes = _standin.told("mount", ["ok"])
    outcome = outcomes[min(_standin.mounts, len(outcomes) - 1)]
    _standin.mounts += 1
    if os.path.islink(home):
        os.unlink(home)
    if os.path.isdir(mountpoint) and os.listdir(mountpoint):
        raise ValueError("Mountpoint must not already contain files")
    if _standin.flushed or outcome == "failed":  # colabtools#4773: not again after a flush
        raise ValueError("mount failed")
    if outcome == "credentials":
        raise _message.MessageError("Error: credential propagation was unsuccessful")
    if outcome == "policy":
        raise ValueError(
            "The domain policy has disabled Drive File Stream: https://support.google.com/a/answer/7496409"
        )
    if outcome == "slow":
        raise ValueError(
            "mount failed: timeout during initial read of root folder; for more info: "
            "https://research.google.com/colaboratory/faq.html#drive-timeout"
        )
    if outcome == "unsupported":
        raise NotImplementedError("google.colab.drive is unsupported in this environment.")
    os.makedirs(mountpoint, exist_ok=True)
    store = _standin.told("store") or tempfile.mkdtemp(prefix="drive-")
    os.makedirs(store, exist_ok=True)
    os.symlink(store, home)
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms=24 * 60 * 60 * 1000):
    _standin.calls.append(("flush",))
    mounted = [call[1] for call in _standin.calls if call[0] == "mount" and os.path.islink(f"{call[1]}/MyDrive")]
    if not mounted:
        print("Drive not mounted, so nothing to flush and unmount.")
        return
    if _standin.told("flush") == "failed":
        raise ValueError("flush_and_unmount failed")
    _standin.flushed = True
    for point in set(mounted):
        os.unlink(f"{point}/MyDrive")
        shutil.rmtree(point)
