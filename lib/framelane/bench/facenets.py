"""Networks of the real architectures with random weights, for timing and for parity; never for a result.

Nobody can be asked to fetch half a gigabyte of restricted weights to measure a program. What a network costs does not
depend on what its weights say, and neither does whether two programs make the same of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Graph:
    """An ONNX graph in the making; most methods append one layer and return the name of its output.

    Args:
        seed: of its weights.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str, *shape: int | str) -> None:
        """A float input; a dimension that is a word is free."""
        from onnx import TensorProto, helper

        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def output(self, layer: str, name: str, *shape: int | str) -> None:
        """Make a layer an output under a name."""
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Identity", [layer], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def save(self, path: Path) -> Path:
        """Write the model; the initializers stand in the order they were made in."""
        import onnx
        from onnx import helper

        graph = helper.make_graph(self.nodes, path.stem, self.inputs, self.outputs, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
        return path

    def weight(self, values: NDArray[Any], name: str | None = None) -> str:
        """An initializer with these values."""
        from onnx import numpy_helper

        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operator of ONNX."""
        from onnx import helper

        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Weights as He et al. 2015 (eq. 10) draw them."""
        fan = int(np.prod(shape[1:]))
        return self.random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan))

    def conv(self, x: str, ins: int, outs: int, kernel: int, stride: int = 1, reflect: bool = False) -> str:
        """A convolution that keeps the size but for its stride."""
        edge = kernel // 2
        if reflect:
            pads = self.weight(np.array([0, 0, edge, edge, 0, 0, edge, edge], np.int64))
            x = self.add("Pad", x, pads, mode="reflect")
        weights = self.weight(self.normal(outs, ins, kernel, kernel))
        bias = self.weight(np.zeros(outs, np.float32))
        sides = [0 if reflect else edge] * 4
        return self.add("Conv", x, weights, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=sides)

    def leaky(self, x: str) -> str:
        """LeakyReLU of 0.2."""
        return self.add("LeakyRelu", x, alpha=0.2)


def write_inswapper(path: Path, width: int = 128, blocks: int = 6, seed: int = 0) -> Path:
    """A network of InSwapper-128's architecture; at its full width 554 MB, as the published file.

    Layers as in the published graph (initializers ``styles.0.conv1.1.weight`` to ``up0.1.weight``): a 7x7 convolution,
    three 3x3 ones of which two halve the size, six residual blocks of two convolutions whose instance norms take scale
    and shift from the latent, two bilinear enlargements, a 7x7 convolution, tanh to 0 to 1. The batch is fixed to 1
    and the embedding map is the last initializer, as there.

    Args:
        path: where to.
        width: channels of the first layer; 128 is the real one.
        blocks: residual blocks; 6 is the real number.
        seed: of the weights.
    """
    g = Graph(seed)
    g.input("target", 1, 3, 128, 128)
    g.input("source", 1, 512)
    x = g.leaky(g.conv("target", 3, width, 7, reflect=True))
    for ins, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        x = g.leaky(g.conv(x, ins, 2 * ins, 3, stride))
    for _ in range(blocks):
        x = _style_block(g, x, 8 * width)
    for ins in (8 * width, 4 * width):
        x = g.leaky(g.conv(_twice(g, x), ins, ins // 2, 3))
    x = g.leaky(g.conv(x, 2 * width, width, 3))
    x = g.add("Tanh", g.conv(x, width, 3, 7, reflect=True))
    x = g.add("Add", x, g.weight(np.array(1, np.float32)))
    g.output(g.add("Div", x, g.weight(np.array(2, np.float32))), "output", 1, 3, 128, 128)
    g.weight(np.linalg.qr(g.normal(512, 512))[0].astype(np.float32), "buff2fs")
    return g.save(path)


def _style_block(g: Graph, x: str, width: int) -> str:
    first = g.add("Relu", _adain(g, g.conv(x, width, width, 3, reflect=True), width))
    second = _adain(g, g.conv(first, width, width, 3, reflect=True), width)
    return g.add("Add", x, second)


def _adain(g: Graph, x: str, width: int) -> str:
    """Adaptive instance norm (Huang & Belongie 2017, eq. 8), written out as the published graph has it."""
    centred = g.add("Sub", x, g.add("ReduceMean", x, axes=[2, 3], keepdims=1))
    variance = g.add("ReduceMean", g.add("Mul", centred, centred), axes=[2, 3], keepdims=1)
    std = g.add("Sqrt", g.add("Add", variance, g.weight(np.array(1e-8, np.float32))))
    normed = g.add("Mul", centred, g.add("Div", g.weight(np.array(1, np.float32)), std))
    style = np.concatenate([np.ones(width, np.float32), np.zeros(width, np.float32)])
    linear = g.add("Gemm", "source", g.weight(4 * g.normal(2 * width, 512)), g.weight(style), transB=1)
    wide = g.add("Unsqueeze", linear, g.weight(np.array([2, 3], np.int64)))
    parts = []
    for start in (0, width):
        ends = [g.weight(np.array([number], np.int64)) for number in (start, start + width, 1)]
        parts.append(g.add("Slice", wide, *ends))
    return g.add("Add", g.add("Mul", normed, parts[0]), parts[1])


def _twice(g: Graph, x: str) -> str:
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    return g.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
