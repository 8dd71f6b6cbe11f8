"""The control socket while calls overlap: any thread may send on it."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..messages import Buffer
    from ..wire import Channel

    Unsent = tuple[int, int, Mapping[str, object], Sequence[Buffer]]
    IsExpected = Callable[[], bool]

_get_ident = threading.get_ident  # bound at import: jobs may replace it


def _always() -> bool:
    return True


class SharedChannel:
    """Sends the frames of several threads one after the other."""

    def __init__(self, channel: Channel) -> None:
        self.is_closed = False
        self._channel = channel
        self._lock = threading.RLock()
        self._sender: int | None = None  # the thread that is sending
        self._deferred: deque[Unsent] = deque()

    @property
    def is_sending(self) -> bool:
        """Whether this thread is sending, which a signal or a finalizer has interrupted."""
        return self._sender == _get_ident()

    def close(self) -> None:
        """In a forked child, where another thread of the parent may have held the lock."""
        self.is_closed = True

    def send(self, kind: int, call_id: int, meta: Mapping[str, object], value: Sequence[Buffer] = ()) -> None:
        """Sends a frame; see Channel.send."""
        self.send_if(_always, kind, call_id, meta, value)

    def send_if(
        self,
        is_expected: IsExpected,
        kind: int,
        call_id: int,
        meta: Mapping[str, object],
        value: Sequence[Buffer] = (),
    ) -> bool:
        """Sends a frame if Node still expects it when no other frame is being sent; returns whether it does."""
        if self.is_sending:  # the code that interrupted it prints
            expected = is_expected()
            if expected:
                self._deferred.append((kind, call_id, meta, value))
            return expected
        with self._lock:
            if not is_expected():
                return False
            self._sender = _get_ident()
            try:
                self._channel.send(kind, call_id, meta, value)
                while self._deferred:
                    self._channel.send(*self._deferred.popleft())
            finally:
                self._sender = None
        return True
