"""ONNX graphs made for one picture and for FP32: their batch dimension freed, chunks of one size, FP16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def free_batch(model: Any) -> None:
    """Let a graph with a batch of 1 take any batch; its weights and their order stay as they are.

    Inputs and outputs get a named first dimension, inferred shapes are dropped, and a ``Reshape`` to a fixed shape that
    begins with 1 keeps the dimension it is given instead. Whether that is right is for the caller to try
    (:func:`agrees`): a graph may fix its batch in other ways.

    Args:
        model: an ``onnx.ModelProto``, changed in place.
    """
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    for value in (*(v for v in graph.input if v.name not in weights), *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes and (freed := _freed(numpy_helper.to_array(tensor))) is not None:
            tensor.CopyFrom(numpy_helper.from_array(freed, tensor.name))
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in shapes:
            value = next((item.t for item in node.attribute if item.name == "value"), None)
            if value is not None and (freed := _freed(numpy_helper.to_array(value))) is not None:
                value.CopyFrom(numpy_helper.from_array(freed))


def _freed(shape: NDArray[np.int64]) -> NDArray[np.int64] | None:
    # 0 in a Reshape is "as it comes" (ONNX operators, Reshape, allowzero=0).
    return np.array([0, *shape[1:]], np.int64) if shape.ndim == 1 and shape.size > 1 and shape[0] == 1 else None


def in_chunks(session: Any, feeds: Mapping[str, NDArray[np.float32]], chunk: int) -> list[NDArray[np.float32]]:
    """All outputs for a batch of any size, computed in chunks of one size; the last one is filled up.

    Libraries choose other code for other batch sizes, which changes the last bits of a result. Chunks of one size
    keep the result of a face the same whatever else is in its frame batch.

    Args:
        session: an onnxruntime session.
        feeds: its inputs, each with the batch first.
        chunk: how many at once.
    """
    count = len(next(iter(feeds.values())))
    parts = []
    for start in range(0, count, chunk):
        now = {name: value[start : start + chunk] for name, value in feeds.items()}
        short = chunk - len(next(iter(now.values())))
        if short:
            now = {name: np.concatenate([value, np.repeat(value[-1:], short, axis=0)]) for name, value in now.items()}
        parts.append([output[: chunk - short] for output in session.run(None, now)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def agrees(session: Any, feeds: Mapping[str, NDArray[np.float32]], tolerance: float) -> bool:
    """Whether a network gives each of a batch the same as alone, to within a tolerance, in a session that takes both."""
    together = in_chunks(session, feeds, len(next(iter(feeds.values()))))
    alone = in_chunks(session, feeds, 1)
    return all(
        a.shape == b.shape and bool(np.max(np.abs(a - b)) <= tolerance) for a, b in zip(together, alone, strict=True)
    )


def to_half(model: Any) -> bytes:
    """A graph with FP16 inside and FP32 inputs and outputs, by onnxruntime's own converter.

    Args:
        model: an ``onnx.ModelProto``; it is changed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    found: bytes = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True).SerializeToString()
    return found
