"""Items of generators, which are sent while the generator runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import SizeError
from ..wire import CHUNK
from . import values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from ..messages import Buffer, ChunkMeta, Format
    from ..overlap.shared_channel import SharedChannel
    from ..wire import Channel
    from .cancel import CancelGate

    class Streaming(Protocol):
        """A call whose items are sent, if it has a limit for them."""

        call_id: int
        format: Format
        as_json: bool
        limit: int
        chunk_limit: int | None


class Streams:
    """Sends items as CHUNK frames."""

    def __init__(self, channel: Channel | SharedChannel, gate: CancelGate) -> None:
        self._channel = channel
        self._gate = gate

    def emitter(self, job: Streaming) -> Callable[[Any], None]:
        """Returns a function that is called with each item of a generator, and sends it if the client wants a stream.

        It raises SizeError as soon as the items together exceed the limit of the result.
        """
        size = values.MinimumSize(job.limit)

        def emit(item: Any) -> None:
            size.add(item)
            if job.chunk_limit is None:
                return
            value: Sequence[Buffer]
            try:
                value = values.dump(item, job.as_json, job.chunk_limit)
            except SizeError:
                value = ()  # too large for a chunk, but it is part of the result
            meta: ChunkMeta = {"value": job.format if value else None}
            self._gate.block()
            try:
                self._channel.send(CHUNK, job.call_id, meta, value)
            finally:
                self._gate.unblock()

        return emit
