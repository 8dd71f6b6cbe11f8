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
    _AGAIN_AFTER = 0.5

    def __init__(self, cancel_softly: Callable[[types.FrameType | None], bool]) -> None:
        """`cancel_softly(frame)` may end the code at that frame without an exception; returns whether it did."""
        self.fired = False
        self._cancel_softly = cancel_softly
        self._armed = False
        self._held = False
        self._pending = False
        self._last = 0.0

    def on_signal(self, _signum: int, frame: types.FrameType | None) -> None:
        if self._held:
            self._pending = True
        elif self._armed and (not self.fired or _monotonic() - self._last > self._AGAIN_AFTER):
            first = not self.fired
            self.fired = True
            self._last = _monotonic()
            if first and self._cancel_softly(frame):
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
                self._armed = True
                return function()
            finally:
                self._armed = self._held = False
        except BaseException as error:
            self._armed = self._held = False
            return on_error(error)

    def hold(self) -> None:
        """Postpones a cancel until `release`: a frame must be sent whole."""
        self._held = True

    def release(self) -> None:
        self._held = False
        if self._pending:
            self._pending = False
            self.fired = True
            self._last = _monotonic()
            raise Cancelled("the call was cancelled")
