"""Frames on the control socket; messages.py has the types of their metadata.

A frame is a little-endian header of 12 bytes (length of the body, type, call id), followed by the body: the length of
the metadata, the metadata as JSON, and the concatenated blobs. Frames from Node list the lengths of their blobs in
`blobs`. Frames to Node have at most one blob, the value, whose format is `value`.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .messages import AnyCallMeta, Buffer, ImportsMeta, RunnerConfig

READY, CALL, CHUNK, RESULT, BYE, CANCEL, OUTPUT, CONFIG, IMPORTS, IMPORTED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10

# The exit status after anything else was received.
PROTOCOL_BROKEN = 70

# The maximum size of the metadata that Node accepts, in bytes.
MAX_META = 1 << 20

# Linux accepts at most 1024 buffers in a call of sendmsg.
_MAX_BUFFERS = 512

# Bound at import: jobs may replace functions of these modules.
_HEADER = struct.Struct("<IBxxxI")
_LENGTH = struct.Struct("<I")
_pack_header = _HEADER.pack
_unpack_header = _HEADER.unpack
_pack_length = _LENGTH.pack
_unpack_length = _LENGTH.unpack_from
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_WAITALL = socket.MSG_WAITALL


class Frame:
    """A CALL frame. `blobs` are views into its body, without a copy."""

    __slots__ = ("blobs", "call_id", "meta")

    def __init__(self, call_id: int, meta: AnyCallMeta, blobs: list[memoryview]) -> None:
        self.call_id = call_id
        self.meta = meta
        self.blobs = blobs


class Cancel(NamedTuple):
    """A CANCEL frame: Node stops one of several calls that overlap."""

    call_id: int


class Imports(NamedTuple):
    """An IMPORTS frame: modules to import until the next call arrives."""

    meta: ImportsMeta


class Channel:
    """The control socket. Only the main thread receives; SharedChannel lets all threads send."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)  # a default timeout set by an imported package must not apply
        self._socket = connection
        self._recv_into = connection.recv_into
        self._sendmsg = connection.sendmsg
        self._header = memoryview(bytearray(_HEADER.size))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive_config(self) -> RunnerConfig | None:
        """Returns the configuration, which is the first frame, or None if Node does not need the runner any more.

        Raises ValueError for any other frame.
        """
        if not self._fill(self._header):
            return None
        length, kind, _ = _unpack_header(self._header)
        if kind == BYE:
            return None
        if kind != CONFIG or length < _LENGTH.size:
            raise ValueError("not a CONFIG frame")
        body = memoryview(bytearray(length))
        return _decode(str(body[_LENGTH.size :], "utf-8")) if self._fill(body) else None

    def receive(self) -> Frame | Cancel | Imports | None:
        """Returns the next call, cancel or modules to import, or None at BYE or the end of the stream.

        Raises ValueError for any other bytes.
        """
        if not self._fill(self._header):
            return None
        length, kind, call_id = _unpack_header(self._header)
        if kind == BYE:
            return None
        if kind not in (CALL, CANCEL, IMPORTS) or length < _LENGTH.size:
            raise ValueError("neither a CALL, a CANCEL nor an IMPORTS frame")
        body = memoryview(bytearray(length))
        if not self._fill(body):
            return None
        (meta_length,) = _unpack_length(body)
        start = _LENGTH.size + meta_length
        if kind == CANCEL:
            return Cancel(call_id)
        decoded = _decode(str(body[_LENGTH.size : start], "utf-8"))
        if kind == IMPORTS:
            return Imports(decoded)
        meta: AnyCallMeta = decoded
        blobs: list[memoryview] = []
        for size in meta.get("blobs", ()):
            blobs.append(body[start : start + size])
            start += size
        if start != length:
            raise ValueError("the blobs do not fill the frame")
        return Frame(call_id, meta, blobs)

    def send(self, kind: int, call_id: int, meta: Mapping[str, object], value: Sequence[Buffer] = ()) -> None:
        """Sends a frame. `value` is a sequence of buffers, which are not copied.

        Raises ValueError and sends nothing if the metadata is larger than Node accepts.
        """
        text = _encode(meta).encode("ascii")
        if len(text) > MAX_META:
            raise ValueError("the metadata is too large")
        head = _pack_length(len(text)) + text
        length = len(head) + sum(map(len, value))
        self._send_all([_pack_header(length, kind, call_id) + head, *value])

    def _fill(self, view: memoryview) -> bool:
        """Fills the view from the socket; returns False if the stream ends first."""
        have = self._recv_into(view, 0, _WAITALL)
        while have < len(view):
            # A signal can cut a read short even though all bytes were requested.
            more = self._recv_into(view[have:], 0, _WAITALL) if have else 0
            if not more:
                return False
            have += more
        return True

    def _send_all(self, parts: list[Buffer]) -> None:
        first = 0
        while first < len(parts):
            sent = self._sendmsg(parts[first : first + _MAX_BUFFERS])
            while first < len(parts) and sent >= len(parts[first]):
                sent -= len(parts[first])
                first += 1
            if sent:
                parts[first] = memoryview(parts[first])[sent:]
