"""Hears buttons while a cell runs: ``with ui_events() as poll`` as in jupyter-ui-poll, on every kernel.

jupyter-ui-poll 1.1 asks the kernel for ``do_one_iteration``, which ipykernel 7 no longer has, and takes its absence for
silence: no button is heard before the cell ends. There the messages for the main shell wait in an in-process socket, and
are taken from it here. What is no widget message (the next cell that was started) waits until this cell is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

Poll = Callable[[int], object]
_waiting: set[asyncio.Future[Any]] = set()  # the loop itself holds tasks weakly
_COMMS = ("comm_open", "comm_msg", "comm_close")


@contextlib.contextmanager
def ui_events() -> Iterator[Poll]:
    """Gives a function that handles what widgets have sent, up to so many messages.

    Outside a kernel (a plain script, a test) it does nothing.
    """
    kernel = _kernel()
    socket = _main_socket(kernel)
    if socket is not None:
        try:
            yield lambda count: _pump(kernel, socket, count)
        finally:
            _pump(kernel, socket, 1000)  # the kernel's loop is told of new messages alone, not of those left lying here
    elif hasattr(kernel, "do_one_iteration"):
        from jupyter_ui_poll import ui_events as events  # type: ignore[import-untyped]

        with events() as poll:
            yield poll
    else:
        yield lambda _: None


def _kernel() -> Any:
    with contextlib.suppress(ImportError):
        from IPython import get_ipython

        return getattr(get_ipython(), "kernel", None)  # type: ignore[no-untyped-call]
    return None


def _main_socket(kernel: Any) -> Any:
    """Where ipykernel 7 hands messages to the main shell (ipykernel/subshell_manager.py, ``_shell_channel_to_main``)."""
    thread = getattr(kernel, "shell_channel_thread", None)
    return getattr(getattr(getattr(thread, "manager", None), "_shell_channel_to_main", None), "to_socket", None)


def _pump(kernel: Any, socket: Any, count: int) -> None:
    for _ in range(count):
        if not socket.poll(0):
            return
        frames = socket.recv_multipart(copy=False)
        idents, rest = kernel.session.feed_identities(frames, copy=False)
        # Only a look: a message whose content was unpacked counts as used, and is refused the second time.
        kind = kernel.session.deserialize(rest, content=False, copy=False)["header"]["msg_type"]
        if kind in _COMMS:
            _handle(kernel, kind, idents, kernel.session.deserialize(rest, content=True, copy=False))
        else:
            # Its turn comes when this cell has given the shell free again.
            task = asyncio.ensure_future(kernel.shell_main(None, frames), loop=kernel.io_loop.asyncio_loop)
            _waiting.add(task)
            task.add_done_callback(_waiting.discard)


def _handle(kernel: Any, kind: str, idents: Any, message: Any) -> None:
    """As the kernel would, with the page told when it is done: it sends a slider's next value only then."""
    cell = kernel.get_parent("shell"), kernel._get_shell_context_var(kernel._shell_parent_ident)
    kernel.set_parent(idents, message, channel="shell")
    try:
        kernel._publish_status("busy", "shell")
        getattr(kernel.comm_manager, kind)(None, idents, message)
    finally:
        kernel._publish_status("idle", "shell")
        kernel.set_parent(cell[1], cell[0], channel="shell")
