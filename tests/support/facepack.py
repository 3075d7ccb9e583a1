"""A pack of insightface's models with random weights: the inputs, outputs and names of ``buffalo_l``, tiny inside."""

import zipfile
from pathlib import Path

import numpy as np

from framelane.bench.facenets import Graph
from framelane.perception.faces.insight import AGE, DETECTOR, RECOGNISER


def write_pack(folder: Path) -> Path:
    """A ZIP as insightface publishes it. The detector finds a few dozen things anywhere; nothing here knows a face."""
    folder.mkdir(parents=True, exist_ok=True)
    _detector().save(folder / DETECTOR)
    _flat(112, 512, seed=2).save(folder / RECOGNISER)
    _flat(96, 3, seed=3).save(folder / AGE)
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as target:
        for name in (DETECTOR, RECOGNISER, AGE):
            target.write(folder / name, name)
    return archive


def _detector() -> Graph:
    g = Graph(1)
    g.input("input.1", 1, 3, "height", "width")
    x, heads = "input.1", []
    for stride, ins in ((8, 3), (2, 16), (2, 16)):
        x = g.leaky(g.conv(x, ins, 16, 2 * (stride // 2) + 1, stride))
        heads.append(x)
    for kind, size in (("score", 1), ("box", 4), ("points", 10)):
        for level, x in enumerate(heads):
            found = g.conv(x, 16, 2 * size, 1)
            found = g.add("Transpose", found, perm=[0, 2, 3, 1])
            found = g.add("Reshape", found, g.weight(np.array([-1, size], np.int64)))
            if kind == "score":
                found = g.add("Sub", found, g.weight(np.array([[1.0]], np.float32)))
                found = g.add("Sigmoid", found)
            elif kind == "box":
                found = g.add("Add", g.add("Abs", found), g.weight(np.array([[3.0]], np.float32)))
            g.output(found, f"{kind}{level}", "n", size)
    return g


def _flat(side: int, size: int, seed: int) -> Graph:
    g = Graph(seed)
    g.input("data", "batch", 3, side, side)
    x = g.leaky(g.conv("data", 3, 16, 5, 4))
    x = g.leaky(g.conv(x, 16, 32, 3, 2))
    x = g.add("Flatten", g.add("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4]))
    width = 32 * (side // 32) ** 2
    x = g.add("Gemm", x, g.weight(g.normal(size, width)), transB=1)
    g.output(x, "fc1", "batch", size)
    return g
