"""A device that is not the CPU, on a machine that has none: tensors that claim another device and refuse what a card does.

A :class:`FarTensor` says that it lies on ``far:0`` and computes with a CPU tensor that nobody else sees. As on a real
card, ``.numpy()`` raises, and so does an operation that mixes it with a tensor of the CPU. What may cross is a copy that
is asked for (``.to``, ``.cpu``, ``copy_``), which is counted with its bytes, and a number (``.item``), counted too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from framelane.video.surface import Surface

_setup_privateuseone_for_python_backend("far")
FAR = torch.device("far", 0)
_aten = torch.ops.aten
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten._index_put_impl_.default}


@dataclass
class Crossed:
    """What crossed: bytes of each copy, and how often the host waited for a number."""

    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    waits: int = 0


CROSSED = Crossed()


class FarTensor(torch.Tensor):
    """See the module."""

    @staticmethod
    def __new__(cls, near):
        return torch.Tensor._make_wrapper_subclass(
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype, device=FAR
        )

    def __init__(self, near):
        self.near = near

    def __repr__(self):
        return f"FarTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """``torch.tensor`` moves what it made where no dispatch mode sees it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and _is_far(kwargs.get("device")):
            made = func(*args, **{**kwargs, "device": "cpu"})
            CROSSED.up.append(made.nbytes)
            return FarTensor(made)
        return func(*args, **kwargs)


@contextmanager
def far_device():
    """While it is entered, tensors can be made on the far device; gives what crosses, counted from 0."""
    CROSSED.up, CROSSED.down, CROSSED.waits = [], [], 0
    with _Made(), _Dispatched():
        yield CROSSED


class _Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        touched = []
        tree_map(lambda x: touched.append(x) if isinstance(x, FarTensor) else None, (args, kwargs))
        if touched or kwargs.get("device") is not None:
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


def far(tensor: torch.Tensor) -> FarTensor:
    """A tensor of the CPU, taken to the far device."""
    return FarTensor(tensor.clone())


def near(tensor: torch.Tensor) -> torch.Tensor:
    """What a far tensor holds, for the test itself."""
    return tensor.near if isinstance(tensor, FarTensor) else tensor


def to_far(surface: Surface) -> Surface:
    """A surface taken to the far device."""
    return replace(surface, y=far(surface.y), uv=far(surface.uv))


def _is_far(device) -> bool:
    return device is not None and torch.device(device).type == FAR.type


def _run(func, args, kwargs):
    here = []
    tree_map(lambda x: here.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    inputs_far = any(isinstance(x, FarTensor) for x in here)
    device = kwargs.get("device")
    to_far = _is_far(device) if device is not None else inputs_far
    if func is _aten._local_scalar_dense.default and inputs_far:
        CROSSED.waits += 1
        return func(args[0].near)
    if func is _aten._to_copy.default:
        if to_far and not inputs_far:
            CROSSED.up.append(args[0].nbytes)
        elif inputs_far and not to_far:
            CROSSED.down.append(args[0].nbytes)
    elif func is _aten.copy_.default and len({isinstance(x, FarTensor) for x in here}) == 2:
        (CROSSED.up if isinstance(args[0], FarTensor) else CROSSED.down).append(args[1].nbytes)
        func(near(args[0]), near(args[1]), *args[2:], **kwargs)
        return args[0]
    elif inputs_far and func not in _INDEXING:
        mixed = [x for x in here if not isinstance(x, FarTensor) and x.dim() > 0]
        if mixed:
            raise RuntimeError(
                f"{func}: expected all tensors on {FAR}, but found one of {tuple(mixed[0].shape)} on the CPU"
            )
    inner = tree_map(near, (args, kwargs))
    if device is not None:
        inner[1]["device"] = "cpu"
    result = func(*inner[0], **inner[1])
    known = {
        id(x.near): x for x in here if isinstance(x, FarTensor)
    }  # in-place and out= give back what they were given
    return tree_map(
        lambda x: (known[id(x)] if id(x) in known else FarTensor(x)) if isinstance(x, torch.Tensor) and to_far else x,
        result,
    )
