"""What each component must do to count as working. Run as ``python -c`` in a child; the last line printed is JSON."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

# x (2, 2) times [[1, 2], [3, 4]]: made with onnx.helper, opset 13, and checked with onnx.checker.
TINY_MODEL = (
    "CAg6XQoRCgF4CgF3EgF5IgZNYXRNdWwSAWcqGwgCCAIQASIQAACAPwAAAEAAAEBAAACAQEIBd1oTCgF4Eg4KDAgBEggKAggCCgIIAmITCgF5Eg4KDAgB"
    "EggKAggCCgIIAkIECgAQDQ=="
)

PRELUDE = f"""
import base64, json, sys, warnings
from importlib import metadata
warnings.simplefilter("ignore")
MODEL = base64.b64decode("{TINY_MODEL}")
def version(*names):
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return ""
def tell(**what):
    print(json.dumps(what))
def need(holds, text):
    if not holds:
        raise SystemExit(text)
"""

_TORCH = """
import torch
device, limit, do = "cpu", "", ""
if torch.version.cuda:
    try:
        torch.ones(1, device="cuda").sum().item()
        device = "cuda"
    except Exception as error:
        limit = f"CUDA {torch.version.cuda} does not answer: {str(error).splitlines()[0]}"
        do = "choose a GPU runtime, or leave it: models then run on the CPU"
a = torch.arange(12.0, device=device).reshape(3, 4)
got = (a @ a.T).cpu().tolist()
want = [[sum((4 * i + k) * (4 * j + k) for k in range(4)) for j in range(3)] for i in range(3)]
need(got == want, f"a matrix product on {device} is wrong: {got}")
where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
tell(version=torch.__version__, how=f"a matrix product on {where}", limit=limit, do=do, device=device)
"""

_TORCHVISION = """
import torch, torchvision
kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]]), torch.tensor([0.9, 0.8, 0.7]), 0.5)
need(kept.tolist() == [0, 2], f"nms keeps {kept.tolist()}")
tell(version=torchvision.__version__)
"""

_ONNXRUNTIME = """
names = [n for n in ("onnxruntime-gpu", "onnxruntime") if version(n)]
wants = "onnxruntime-gpu" in names
if wants:
    try:
        import torch  # brings CUDA's libraries, and must have loaded them first
    except Exception:
        torch = None
import numpy, onnxruntime
if wants and hasattr(onnxruntime, "preload_dlls"):
    onnxruntime.preload_dlls()
providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if wants else ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(MODEL, providers=providers)
got = session.run(None, {"x": numpy.array([[1, 0], [0, 2]], "float32")})[0].tolist()
need(got == [[1, 2], [6, 8]], f"a session computes {got}")
used = session.get_providers()[0]
need(not wants or used == providers[0], f"onnxruntime-gpu {version('onnxruntime-gpu')} fell to {used}")
need(len(names) < 2, "onnxruntime and onnxruntime-gpu are both installed")
tell(version=f"{onnxruntime.__version__}", how=f"a session ran on {used}", provider=used)
"""

_ONNX = """
import onnx
model = onnx.load_from_string(MODEL)
onnx.checker.check_model(model)
tell(version=onnx.__version__)
"""

_AV = """
import io, av, numpy
held, rows = io.BytesIO(), numpy.arange(48, dtype="uint8").reshape(48, 1) * 4
with av.open(held, "w", format="mp4") as out:
    stream = out.add_stream("libx264", rate=10, options={"crf": "10"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for n in range(5):
        grey = numpy.repeat(rows + n * 8, 64, axis=1)
        picture = numpy.concatenate([grey, numpy.full((24, 64), 128, "uint8")])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "yuv420p")))
    out.mux(stream.encode())
held.seek(0)
with av.open(held) as clip:
    frames = [frame.to_ndarray()[:48].astype(int) for frame in clip.decode(video=0)]
need(len(frames) == 5, f"{len(frames)} of 5 frames came back")
worst = max(abs(f - (numpy.repeat(rows + n * 8, 64, axis=1)).astype(int)).mean() for n, f in enumerate(frames))
need(worst < 3, f"frames differ by {worst:.1f} levels")
tell(version=av.__version__)
"""

_CV2 = """
import cv2, numpy
small = cv2.resize(numpy.full((40, 60, 3), 7, "uint8"), (30, 20))
need(small.shape == (20, 30, 3) and (small == 7).all(), "a resize is wrong")
owners = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
tell(version=cv2.__version__, how="a resize; owned by " + ", ".join(n for n in owners if version(n)))
"""

_TRACKERS = """
import numpy, supervision, trackers
tracker = trackers.ByteTrackTracker(minimum_consecutive_frames=1)
ids = []
for n in range(6):
    box = numpy.array([[10.0 + 2 * n, 10, 40 + 2 * n, 60]])
    found = supervision.Detections(xyxy=box, confidence=numpy.array([0.9]), class_id=numpy.array([0]))
    ids += list(tracker.update(found).tracker_id)
ids = {int(i) for i in ids if i >= 0}
need(len(ids) == 1, f"one moving box got the ids {sorted(ids)}")
tell(version=f"{trackers.__version__ if hasattr(trackers, '__version__') else version('trackers')}")
"""

_TRANSFORMERS = """
from framelane.models.torch_compat import ensure_torchvision
ensure_torchvision()
import torch, transformers
config = transformers.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
out = transformers.Dinov2Model(config).eval()(torch.zeros(1, 3, 28, 28)).last_hidden_state
need(tuple(out.shape) == (1, 5, 16), f"shape {tuple(out.shape)}")
tell(version=transformers.__version__)
"""

_C2PA = """
import os, pathlib, tempfile
from framelane.provenance import seal
with tempfile.TemporaryDirectory() as folder:
    os.environ.update(XDG_CONFIG_HOME=folder, XDG_DATA_HOME=folder, XDG_CACHE_HOME=folder)  # no test certificate stays
    seal.require(pathlib.Path(folder, "x.mp4"), None, None)
tell(version=version("c2pa-python"))
"""

_INSIGHTFACE = """
import numpy
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD
from insightface.utils.face_align import arcface_dst, estimate_norm
matrix = numpy.asarray(estimate_norm(arcface_dst * 2 + 3, 112))
need(abs(matrix[0, 0] - 0.5) < 1e-4, f"an alignment is wrong: {matrix.tolist()}")
both = [n for n in ("onnxruntime", "onnxruntime-gpu") if version(n)]
need(len(both) == 1, "it stands beside " + (" and ".join(both) or "no ONNX Runtime"))
tell(version=version("insightface"))
"""

_SPANDREL = """
from framelane.models.torch_compat import ensure_torchvision
ensure_torchvision()
import torch
from spandrel.architectures.Compact import Compact, CompactArch
net = Compact(num_feat=8, num_conv=1, upscale=2).eval()
model = CompactArch().load(net.state_dict())
out = model(torch.zeros(1, 3, 8, 8))
need(tuple(out.shape) == (1, 3, 16, 16), f"shape {tuple(out.shape)}")
tell(version=version("spandrel"))
"""

_RAY = """
import ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
@ray.remote
def twice(x):
    return 2 * x
need(ray.get(twice.remote(21)) == 42, "a task is wrong")
ray.shutdown()
tell(version=ray.__version__)
"""

_TIMM = """
from framelane.models.torch_compat import ensure_torchvision
ensure_torchvision()
import timm, torch
out = timm.create_model("resnet10t", pretrained=False, num_classes=3).eval()(torch.zeros(1, 3, 64, 64))
need(tuple(out.shape) == (1, 3), f"shape {tuple(out.shape)}")
tell(version=timm.__version__)
"""

_WIDGETS = """
import ipywidgets, jupyter_ui_poll
slider = ipywidgets.IntSlider(value=3, max=10)
slider.value = 30
need(slider.value == 10, f"a slider up to 10 says {slider.value}")
tell(version=ipywidgets.__version__, how="a slider set beyond its end")
"""

_MATPLOTLIB = """
import io
import matplotlib
from matplotlib.figure import Figure
figure, held = Figure(figsize=(1, 1)), io.BytesIO()
figure.subplots().plot([0, 1], [1, 0])
figure.savefig(held, format="png")
need(held.getvalue()[1:4] == b"PNG", "no PNG came out")
tell(version=matplotlib.__version__)
"""

_GFPGAN = """
from framelane.processors.faceswap import restore
from framelane.models.torch_compat import ensure_torchvision
ensure_torchvision()
import sys
from torchvision.transforms import functional
sys.modules.setdefault("torchvision.transforms.functional_tensor", functional)
from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
tell(version=version("gfpgan"))
"""


def doctor(report: dict[str, Any]) -> dict[str, Any]:
    """What the installer needs of ``framelane doctor --json``.

    Args:
        report: of the doctor.

    Returns:
        ``profile, why``, the errors as one text in ``limit`` with what to do in ``do``, and ``nvenc``: a rung encodes on
        the card.
    """
    findings = report.get("findings", [])
    errors = [one for one in findings if (one.get("status") or one.get("level")) == "error"]
    encodes = [
        one.get("name", "") for one in findings
        if one.get("status") == "ok" and one.get("name", "").startswith("encode ") and " cpu" not in one.get("name", "")
    ] + [one["name"] for one in report.get("codecs", []) if one.get("ok") and "nvenc" in one["name"]]  # fmt: skip
    return {
        "profile": report["profile"]["name"],
        "why": report["profile"]["why"],
        "limit": " ".join(one.get("evidence") or one.get("what", "") for one in errors),
        "do": " ".join(dict.fromkeys(one.get("fix") or one.get("do", "") for one in errors)).strip(),
        "nvenc": bool(encodes),
    }


_FRAMELANE = f"""
import subprocess
from typing import Any
{inspect.getsource(doctor)}
done = subprocess.run([sys.executable, "-P", "-m", "framelane.cli", "doctor", "--json"], capture_output=True, text=True)
need(done.returncode == 0, (done.stderr.strip().splitlines() or ["it ended with " + str(done.returncode)])[-1])
tell(version=version("framelane"), how="framelane doctor --json, its probes run", **doctor(json.loads(done.stdout)))
"""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: what the child runs.
        how: what that is, in words.
        do: what the user can do where it fails.
        packages: what a repair would reinstall.
        optional: where it fails, framelane works all the same.
    """

    code: str
    how: str
    do: str
    packages: tuple[str, ...]
    optional: bool = False


CHECKS = {
    "torch": Check(_TORCH, "a matrix product", "install torch for this machine's CUDA, see pytorch.org", ("torch",)),
    "torchvision": Check(
        _TORCHVISION, "its own nms on three boxes",
        "leave it: framelane gets by without its compiled operators; else install the torchvision made for this torch",
        ("torchvision",), optional=True,
    ),
    "onnxruntime": Check(
        _ONNXRUNTIME, "a session of a tiny model", "run the installer again", ("onnxruntime", "onnxruntime-gpu")
    ),
    "onnx": Check(_ONNX, "a model parsed and checked", "run the installer again", ("onnx", "protobuf")),
    "av": Check(_AV, "five frames encoded with x264, decoded and compared", "run the installer again", ("av",)),
    "cv2": Check(_CV2, "a resize", "install one of the opencv packages, and only one", ("opencv-python",)),
    "trackers": Check(
        _TRACKERS, "a moving box tracked over six frames", "run the installer again", ("trackers", "supervision")
    ),
    "transformers": Check(
        _TRANSFORMERS, "a small DINOv2 with random weights run", "run the installer again",
        ("transformers", "tokenizers", "safetensors"),
    ),
    "c2pa": Check(_C2PA, "a picture signed and read back", "run the installer again", ("c2pa-python", "cryptography")),
    "insightface": Check(_INSIGHTFACE, "five points aligned", "run the installer again", ("insightface",)),
    "spandrel": Check(_SPANDREL, "a small network loaded and run", "run the installer again", ("spandrel",)),
    "ray": Check(_RAY, "a task run on a local cluster", "run the installer again", ("ray",)),
    "timm": Check(_TIMM, "a small network run", "run the installer again", ("timm",)),
    "ipywidgets": Check(
        _WIDGETS, "a slider", "run the installer again; without widgets the notebooks print lines",
        ("ipywidgets", "jupyter-ui-poll"), optional=True,
    ),
    "matplotlib": Check(_MATPLOTLIB, "a chart drawn", "run the installer again", ("matplotlib",), optional=True),
    "gfpgan": Check(
        _GFPGAN, "its network's class imported", "leave it: spandrel opens the same weights", ("gfpgan",), optional=True
    ),
    "framelane": Check(_FRAMELANE, "framelane doctor", "framelane doctor --json", ("framelane",)),
}  # fmt: skip
_BASE = ("torch", "torchvision", "onnxruntime", "onnx", "av", "cv2", "trackers", "transformers")
_OF = {
    "notebook": ("ipywidgets", "matplotlib"), "faceswap": ("c2pa", "insightface", "spandrel"), "ray": ("ray",),
    "deformable": ("timm",), "gfpgan": ("gfpgan",),
}  # fmt: skip


_TORCH_USERS = ("torch", "torchvision", "transformers", "spandrel", "timm", "gfpgan")


def names(components: list[str], torch: bool = True) -> list[str]:
    """The checks of the base and of these components; framelane's own is the last.

    Args:
        components: out of :data:`.pins.COMPONENTS`.
        torch: also what needs torch.
    """
    found = [*_BASE, *(name for component in components for name in _OF.get(component, ())), "framelane"]
    return found if torch else [name for name in found if name not in _TORCH_USERS]
