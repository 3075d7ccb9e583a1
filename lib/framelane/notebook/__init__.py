"""What a notebook shows: host, picker, plan, dashboard, gallery, and the foreground loop that runs them.

A cell is one call: :func:`setup`, :func:`run`, :func:`results`, :func:`plan`, :func:`bench`, :func:`finish`, :func:`help`,
:func:`secret`.
Importing this package imports none of what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framelane.notebook.advice import help
    from framelane.notebook.cells import results, run
    from framelane.notebook.machine import bench, finish, plan, secret, setup

_WHERE = {
    "run": "cells", "results": "cells", "setup": "machine", "plan": "machine", "bench": "machine", "finish": "machine",
    "secret": "machine", "help": "advice",
}  # fmt: skip

__all__ = ["bench", "finish", "help", "plan", "results", "run", "secret", "setup"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
