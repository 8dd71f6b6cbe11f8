"""Cancelling a call by SIGINT."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

T = TypeVar("T")

_monotonic = time.monotonic  # bound now: jobs may replace it


class Cancelled(KeyboardInterrupt):
    """Raised in the code of a job when Node cancels the call.

    A KeyboardInterrupt, as libraries do not catch it and asyncio leaves its loop on it.
    """

    __module__ = "builtins"  # tracebacks name it without a module that the caller does not know


class CancelGate:
    """Turns SIGINT into Cancelled, but only while code of a job runs."""

    # Code can swallow the exception, so a later signal raises again. Not at once: the second one must not hit the
    # few steps between the first one and the end of the call.
    _REPEAT_AFTER_SECONDS = 0.5

    def __init__(self, cancel_task: Callable[[types.FrameType | None], bool]) -> None:
        """`cancel_task(frame)` may end the code at that frame without an exception; returns whether it did."""
        self.fired = False
        self._cancel_task = cancel_task
        self._open = False
        self._blocked = False
        self._pending = False
        self._last = 0.0

    def on_signal(self, _signum: int, frame: types.FrameType | None) -> None:
        if self._blocked:
            self._pending = True
        elif self._open and (not self.fired or _monotonic() - self._last > self._REPEAT_AFTER_SECONDS):
            first = not self.fired
            self.fired = True
            self._last = _monotonic()
            if first and self._cancel_task(frame):
                return
            raise Cancelled("the call was cancelled")

    def run(self, function: Callable[[], T], on_error: Callable[[BaseException], T]) -> T:
        """Calls function() with the gate open; an exception goes to on_error(exception), whose value is returned.

        Cancelled can appear between any two steps here. Two of them are far apart in time, so that of the two nested
        handlers the outer one always reaches its end.
        """
        self.fired = self._pending = False
        try:
            try:
                self._open = True
                return function()
            finally:
                self._open = self._blocked = False
        except BaseException as error:
            self._open = self._blocked = False
            return on_error(error)

    def block(self) -> None:
        """Postpones a cancel until `release`: a frame must be sent whole."""
        self._blocked = True

    def unblock(self) -> None:
        self._blocked = False
        if self._pending:
            self._pending = False
            self.fired = True
            self._last = _monotonic()
            raise Cancelled("the call was cancelled")
