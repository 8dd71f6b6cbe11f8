"""Cancelling a call by SIGINT."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

T = TypeVar("T")

_monotonic = time.monotonic  # bound at import: jobs may replace it


class Cancelled(KeyboardInterrupt):
    """Raised in the code of a job when Node cancels the call.

    A KeyboardInterrupt, because libraries do not catch it and asyncio does not handle it in its event loop.
    """

    __module__ = "builtins"  # tracebacks show the name without a module of the runner


class CancelGate:
    """Raises Cancelled on SIGINT, but only while the code of a job runs."""

    # Code can catch and ignore the exception, so a later signal raises it again. Not immediately, because a second
    # exception must not interrupt the handling of the first one in `run`.
    _REPEAT_AFTER_SECONDS = 0.5

    def __init__(self, cancel_task: Callable[[types.FrameType | None], bool]) -> None:
        """`cancel_task(frame)` may cancel the code at that frame without an exception; returns whether it did."""
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
        """Calls function() and lets signals cancel it. If it raises, returns the value of on_error(exception).

        Cancelled can be raised between any two statements here, but not twice in a short time. Therefore the outer of
        the two handlers always completes.
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
        """Postpones a cancel until `unblock`: a frame must not be sent partially."""
        self._blocked = True

    def unblock(self) -> None:
        self._blocked = False
        if self._pending:
            self._pending = False
            self.fired = True
            self._last = _monotonic()
            raise Cancelled("the call was cancelled")
