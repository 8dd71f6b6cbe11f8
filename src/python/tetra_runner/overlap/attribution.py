"""Output of calls that overlap: text that their code writes is sent in OUTPUT frames instead of the FIFO.

A context variable holds the output of the current call. Tasks and `asyncio.to_thread` inherit it. Everything else, such
as output of C libraries and child processes, still goes to the FIFO.
"""

from __future__ import annotations

import io
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..wire import OUTPUT

if TYPE_CHECKING:
    from ..messages import OutputMeta
    from .shared_channel import SharedChannel

# The maximum size of the text in a frame, in characters: as JSON, it is at most twelve times as large.
_MAX_TEXT = 64 << 10

_RLock = threading.RLock  # bound at import: jobs may replace it


class CallOutput:
    """The output of one call. Whole lines are sent at once, so that they are not lost if the process crashes."""

    def __init__(self, channel: SharedChannel, call_id: int) -> None:
        self._channel = channel
        self._call_id = call_id
        self._lock = _RLock()
        self._partial = {1: "", 2: ""}  # lines without an end, by descriptor
        self._is_open = True
        self._has_ended = False

    def write(self, descriptor: int, text: str) -> bool:
        """Writes to stdout (1) or stderr (2); returns False if the call has ended or belongs to a parent process."""
        if self._channel.is_closed:
            return False
        with self._lock:
            if not self._is_open:
                return False
            whole = self._partial[descriptor] + text
            end = whole.rfind("\n") + 1
            if not end and len(whole) > _MAX_TEXT:
                end = len(whole)
            self._partial[descriptor] = whole[end:]
        # Not under the lock: a finalizer of another call may print in the middle of a send.
        return self._send(whole[:end])

    def flush(self, descriptor: int) -> None:
        with self._lock:
            text, self._partial[descriptor] = self._partial[descriptor], ""
        self._send(text)

    def close(self) -> None:
        """Sends the rest. What the code of the call writes later goes to the FIFO."""
        with self._lock:
            self._is_open = False
        for descriptor in self._partial:
            self.flush(descriptor)
        self._has_ended = True

    def _is_expected(self) -> bool:
        return not self._has_ended

    def _send(self, text: str) -> bool:
        """Returns False if the call ended in the meantime: after its result, Node expects no other frame of it."""
        for start in range(0, len(text), _MAX_TEXT):
            part = text[start : start + _MAX_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")
            meta: OutputMeta = {"text": part, "value": None}
            try:
                if not self._channel.send_if(self._is_expected, OUTPUT, self._call_id, meta):
                    return False
            except (OSError, ValueError):
                break  # the control socket is closed: the loop ends the process
        return True


current: ContextVar[CallOutput | None] = ContextVar("current", default=None)


class JobStream(io.TextIOWrapper):
    """A line-buffered stream on descriptor 1 or 2, except for text of calls that overlap."""

    def __init__(self, descriptor: int) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        super().__init__(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._descriptor = descriptor

    def write(self, text: str, /) -> int:
        output = current.get()
        if output is not None and type(text) is str and output.write(self._descriptor, text):
            return len(text)
        return super().write(text)

    def flush(self) -> None:
        output = current.get()
        if output is not None:
            output.flush(self._descriptor)
        super().flush()
