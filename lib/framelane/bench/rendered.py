"""Rendered scenes whose depth is known: boxes that move over a ground before a wall, with a depth buffer.

Every surface's depth is computed at every pixel, and the nearest is kept. A picture carries its own truth, for models made
here that read it: green is texture (for the optical flow), blue the logarithm of the depth, red which object it is, and the
green of the corner at the top left how wrong the flickering model is to be. So everything of the processor runs for real
(decoding, flow, tracking, fusion, zones, drawing), and what it finds can be compared with what was rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SIZE = (240, 320)
"""(H, W) of the pictures."""
RATE = 25
FOV = 60.0
NEAREST, FARTHEST = 0.5, 60.0
"""Metres that blue can tell, in steps of 1.9 %."""
FLICKER = 0.1
"""Share by which the flickering model is wrong at most."""
_EYE, _WALL = 1.4, 40.0  # metres of the camera above the ground; where the wall stands
_CODES = (60, 120, 180, 240)
_CORNER = 6  # pixels
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cuboid:
    """A box that stands on the ground.

    Attributes:
        place: (x, z) of the middle of its front at a time in seconds; metres right of and before the camera.
        size: width, height, depth in metres.
    """

    place: Callable[[float], tuple[float, float]]
    size: tuple[float, float, float] = (0.8, 1.7, 0.5)


@dataclass(frozen=True)
class Scene:
    """What is rendered.

    Attributes:
        name: in tables.
        cuboids: the objects, at most four.
        seconds: how long.
        camera: (x, z) of the camera in metres at a time in seconds; the objects' places are the world's.
    """

    name: str
    cuboids: tuple[Cuboid, ...]
    seconds: float = 4.0
    camera: Callable[[float], tuple[float, float]] = field(default=lambda _: (0.0, 0.0))

    @property
    def frames(self) -> int:
        """How many."""
        return round(self.seconds * RATE)

    def distance(self, index: int, time: float) -> float:
        """Metres along the camera's axis to an object's front."""
        return self.cuboids[index].place(time)[1] - self.camera(time)[1]


def scenes() -> list[Scene]:
    """The scenes of the benchmark: something comes, goes, crosses; and a walker who comes to what stands."""
    return [
        Scene("comes at 4 m/s", (Cuboid(lambda t: (0.1, 17.0 - 4 * t)),)),
        Scene("goes at 2 m/s, from 1.8 m", (Cuboid(lambda t: (0.1, 1.8 + 2 * t)),)),
        Scene("crosses at 7 m", (Cuboid(lambda t: (-3.0 + 1.5 * t, 7.0)),)),
        Scene("camera walks at 1.4 m/s", (Cuboid(lambda _: (-0.3, 7.0)),), camera=lambda t: (0.0, 1.4 * t)),
    ]


def still() -> Scene:
    """Nothing moves: whatever changes is the model's flicker."""
    return Scene("stands at 8 m", (Cuboid(lambda _: (0.4, 8.0)),), seconds=3.0)


def render(
    scene: Scene, time: float, flicker: float = 0.0
) -> tuple[npt.NDArray[np.uint8], Array, npt.NDArray[np.int64]]:
    """One picture.

    Args:
        scene: what is there.
        time: seconds.
        flicker: -1 to 1: what the flickering model adds, times :data:`FLICKER`.

    Returns:
        RGB uint8 ``(H, W, 3)``; depth in metres, float32 ``(H, W)``; which object, from 1, or 0.
    """
    height, width = SIZE
    focal = width / 2 / np.tan(np.radians(FOV / 2))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across, down = (columns + 0.5 - width / 2) / focal, (rows + 0.5 - height / 2) / focal
    eye = scene.camera(time)
    with np.errstate(divide="ignore"):
        ground = np.where(down > 1e-6, _EYE / down, np.inf)
    depth = np.minimum(ground, _WALL - eye[1]).astype(np.float32)
    seen = np.zeros(SIZE, np.int64)
    for number, cuboid in enumerate(scene.cuboids, 1):
        hit = _hit(cuboid, time, eye, across, down)
        nearer = hit < depth
        depth, seen = np.where(nearer, hit, depth).astype(np.float32), np.where(nearer, number, seen)
    x, y, z = across * depth, down * depth, depth
    moved = np.broadcast_to(np.array(eye, np.float32), (*SIZE, 2)).copy()
    for number, cuboid in enumerate(scene.cuboids, 1):  # an object's texture moves with it
        moved[seen == number] = np.array(eye, np.float32) - np.array(cuboid.place(time), np.float32) + 17.3 * number
    texture = _texture(x + moved[..., 0], y, z + moved[..., 1])
    texture[:_CORNER, :_CORNER] = 0.5 + 0.5 * flicker
    codes = np.array([0, *_CODES], np.float32)
    code = np.log(np.clip(depth, NEAREST, FARTHEST) / NEAREST) / np.log(FARTHEST / NEAREST)
    rgb = np.stack([codes[seen], texture * 255, code * 255], axis=2)
    return np.rint(rgb).astype(np.uint8), depth, seen


def _hit(cuboid: Cuboid, time: float, eye: tuple[float, float], across: Array, down: Array) -> Array:
    """Depth at which each pixel's ray enters a box; infinite where it passes by.

    The slab method: Kay and Kajiya, "Ray tracing complex scenes", SIGGRAPH 1986.
    """
    (x, z), (wide, high, deep) = cuboid.place(time), cuboid.size
    low = (x - eye[0] - wide / 2, _EYE - high, z - eye[1])
    top = (x - eye[0] + wide / 2, _EYE, z - eye[1] + deep)
    enter, leave = np.full(SIZE, low[2], np.float32), np.full(SIZE, top[2], np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for direction, one, other in ((across, low[0], top[0]), (down, low[1], top[1])):
            near, far = np.minimum(one / direction, other / direction), np.maximum(one / direction, other / direction)
            enter, leave = np.maximum(enter, near), np.minimum(leave, far)
    return np.where((enter <= leave) & (enter > 0.05), enter, np.inf).astype(np.float32)


def _texture(x: Array, y: Array, z: Array) -> Array:
    """Smooth waves through space, 0.1 to 0.9: what flow can follow at any distance."""
    total = np.zeros_like(x)
    for k, (fx, fy, fz) in enumerate(((1.1, 0.7, 0.5), (2.9, 3.7, 1.3), (7.1, 6.1, 3.1), (0.31, 0.43, 0.17))):
        total += np.sin(fx * x + 1.7 * k) * np.cos(fy * y + fz * z + 0.9 * k)
    return np.asarray(0.5 + 0.1 * total, np.float32)


def write(scene: Scene, path: Path, flicker: npt.NDArray[np.float64] | None = None) -> Path:
    """The scene as a clip without loss (H.264 4:4:4, quantiser 0), so that its truth survives.

    Args:
        scene: what is rendered.
        path: ``.mp4`` or ``.mkv``.
        flicker: -1 to 1 for every frame.
    """
    import av

    with av.open(str(path), "w") as target:
        stream: Any = target.add_stream("libx264", rate=RATE, options={"qp": "0", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv444p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 5
        for index in range(scene.frames):
            rgb, _, _ = render(scene, index / RATE, 0.0 if flicker is None else float(flicker[index]))
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p", dst_colorspace=5)
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def depth_model(path: Path, *, flickers: bool = False) -> Path:
    """A depth model as ONNX that reads blue: ``nearest * exp(blue * log(farthest / nearest))``, metric.

    Args:
        path: the file to write.
        flickers: wrong by up to :data:`FLICKER`, as the corner's green says.
    """
    from onnx import helper as make

    spread = float(np.log(FARTHEST / NEAREST))
    nodes = [
        make.make_node("Slice", ["rgb", "two", "three", "channel"], ["blue"]),
        make.make_node("Mul", ["blue", "spread"], ["power"]),
        make.make_node("Exp", ["power"], ["share"]),
        make.make_node("Mul", ["share", "nearest"], ["steady"]),
    ]
    if flickers:
        nodes += [
            make.make_node("Slice", ["rgb", "corner", "corner_end", "all"], ["patch"]),
            make.make_node("ReduceMean", ["patch"], ["green"], axes=[1, 2, 3], keepdims=1),
            make.make_node("Mul", ["green", "swing"], ["swung"]),
            make.make_node("Add", ["swung", "least"], ["wrong"]),
            make.make_node("Mul", ["steady", "wrong"], ["depth"]),
        ]
    else:
        nodes.append(make.make_node("Identity", ["steady"], ["depth"]))
    numbers = {"spread": [spread], "nearest": [NEAREST], "swing": [2 * FLICKER], "least": [1 - FLICKER]}
    places = {
        "two": [2],
        "three": [3],
        "channel": [1],
        "corner": [1, 1, 1],
        "corner_end": [2, _CORNER - 1, _CORNER - 1],
    }
    constants = [make.make_tensor(k, 1, [1], v) for k, v in numbers.items()]
    constants += [make.make_tensor(k, 7, [len(v)], v) for k, v in (places | {"all": [1, 2, 3]}).items()]
    about = {"framelane.kind": "metric", "framelane.normalisation": "unit"}
    return _save(nodes, constants, [("depth", [1, 1, *SIZE])], about, path)


def detector_model(path: Path) -> Path:
    """A detector as ONNX in the form of a YOLO export: the box of every red code, ``(1, 4, 6)``.

    Rows are x1, y1, x2, y2, score (0.9, or 0 where there is nothing) and class (0, person).
    """
    from onnx import helper as make

    height, width = SIZE
    nodes = [make.make_node("Slice", ["rgb", "zero", "one", "channel"], ["red"])]
    rows = []
    for k in range(len(_CODES)):
        nodes += [
            make.make_node("Sub", ["red", f"code{k}"], [f"off{k}"]),
            make.make_node("Abs", [f"off{k}"], [f"far{k}"]),
            make.make_node("Less", [f"far{k}", "within"], [f"is{k}"]),
            make.make_node("Cast", [f"is{k}"], [f"mask{k}"], to=1),
            make.make_node("ReduceMax", [f"mask{k}"], [f"x{k}"], axes=[0, 1, 2], keepdims=0),
            make.make_node("ReduceMax", [f"mask{k}"], [f"y{k}"], axes=[0, 1, 3], keepdims=0),
            make.make_node("ReduceMax", [f"mask{k}"], [f"any{k}"], axes=[0, 1, 2, 3], keepdims=0),
            make.make_node("Mul", [f"any{k}", "sure"], [f"score{k}"]),
            make.make_node("Reshape", [f"score{k}", "row"], [f"s{k}"]),
        ]
        sides = []
        for axis in ("x", "y"):
            for last in (0, 1):
                side = f"{axis}{last}_{k}"
                nodes.append(
                    make.make_node("ArgMax", [f"{axis}{k}"], [f"i_{side}"], axis=0, keepdims=1, select_last_index=last)
                )
                nodes.append(make.make_node("Cast", [f"i_{side}"], [f"f_{side}"], to=1))
                nodes.append(make.make_node("Add", [f"f_{side}", f"edge{last}"], [side]))
                sides.append(side)
        order = [sides[0], sides[2], sides[1], sides[3], f"s{k}", "class"]
        nodes.append(make.make_node("Concat", order, [f"box{k}"], axis=0))
        nodes.append(make.make_node("Reshape", [f"box{k}", "six"], [f"row{k}"]))
        rows.append(f"row{k}")
    nodes.append(make.make_node("Concat", rows, ["found"], axis=1))
    numbers = {"within": 12 / 255, "sure": 0.9, "edge0": 0.0, "edge1": 1.0, "class": 0.0}
    numbers |= {f"code{k}": code / 255 for k, code in enumerate(_CODES)}
    constants = [make.make_tensor(k, 1, [1], [v]) for k, v in numbers.items()]
    places = {"zero": [0], "one": [1], "channel": [1], "row": [1], "six": [1, 1, 6]}
    constants += [make.make_tensor(k, 7, [len(v)], v) for k, v in places.items()]
    about = {"task": "detect", "end2end": "True", "imgsz": f"[{height}, {width}]", "names": "{0: 'person'}"}
    return _save(nodes, constants, [("found", [1, len(_CODES), 6])], about, path)


def _save(
    nodes: list[Any], constants: list[Any], outputs: list[tuple[str, list[int]]], about: dict[str, str], path: Path
) -> Path:
    import onnx
    from onnx import helper as make

    given = make.make_tensor_value_info("rgb", 1, [1, 3, *SIZE])
    made = [make.make_tensor_value_info(name, 1, shape) for name, shape in outputs]
    model = make.make_model(
        make.make_graph(nodes, "planted", [given], made, constants),
        opset_imports=[make.make_opsetid("", 13)],
        ir_version=8,
    )
    make.set_model_props(model, about)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
