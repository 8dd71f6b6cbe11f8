"""Frames on the control socket; messages.py has the types of their metadata.

A frame is a header of 12 bytes (length of the body, type, call id; little endian), then the body: the length of
the metadata, the metadata as JSON, and blobs back to back. Frames from Node list the lengths of their blobs in
"blobs"; a frame to Node has at most one, the value, whose format the metadata names in "value".
"""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .messages import Buffer, CallMeta

READY, CALL, CHUNK, RESULT, BYE = 1, 2, 3, 4, 5

# Node refuses frames with more metadata than this, in bytes.
MAX_META = 1 << 20

# Linux takes at most 1024 buffers in one call.
_MAX_BUFFERS = 512

# Bound now, so that a job that replaces functions of these modules does not break the control channel.
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
    """A CALL as it arrived: `blobs` are views into the body, nothing is copied."""

    __slots__ = ("blobs", "call_id", "meta")

    def __init__(self, call_id: int, meta: CallMeta, blobs: list[memoryview]) -> None:
        self.call_id = call_id
        self.meta = meta
        self.blobs = blobs


class Channel:
    """The control socket. Only the main thread uses it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)  # a default timeout set by an imported package must not apply
        self._socket = connection
        self._recv_into = connection.recv_into
        self._sendmsg = connection.sendmsg
        self._header = memoryview(bytearray(_HEADER.size))

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Frame | None:
        """The next call, or None at BYE and at the end of the stream. Raises ValueError for bytes that are no call."""
        if not self._fill(self._header):
            return None
        length, kind, call_id = _unpack_header(self._header)
        if kind == BYE:
            return None
        if kind != CALL or length < _LENGTH.size:
            raise ValueError("not a frame")
        body = memoryview(bytearray(length))
        if not self._fill(body):
            return None
        (meta_length,) = _unpack_length(body)
        start = _LENGTH.size + meta_length
        meta: CallMeta = _decode(str(body[_LENGTH.size : start], "utf-8"))
        blobs: list[memoryview] = []
        for size in meta.get("blobs", ()):
            blobs.append(body[start : start + size])
            start += size
        if start != length:
            raise ValueError("the blobs do not fill the frame")
        return Frame(call_id, meta, blobs)

    def send(self, kind: int, call_id: int, meta: Mapping[str, object], value: Sequence[Buffer] = ()) -> None:
        """Sends one frame. `value` is a sequence of byte buffers, which are sent without copying them.

        Raises ValueError, with nothing sent, when there is more metadata than Node accepts.
        """
        text = _encode(meta).encode("ascii")
        if len(text) > MAX_META:
            raise ValueError("the meta data is too large")
        head = _pack_length(len(text)) + text
        length = len(head) + sum(map(len, value))
        self._send_all([_pack_header(length, kind, call_id) + head, *value])

    def _fill(self, view: memoryview) -> bool:
        """Fills the view from the socket; False when the stream ends first."""
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
