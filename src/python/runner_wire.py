"""Frames on the control socket.

A frame is a header of 12 bytes (length of the body, type, call id; little endian), then the body: the length of
the meta data, the meta data as JSON, and blobs back to back. Frames from Node list the lengths of their blobs in
"blobs"; a frame to Node has at most one, the value, whose format the meta data names in "value".
"""

import json
import socket
import struct

READY, CALL, CHUNK, RESULT, BYE = 1, 2, 3, 4, 5

# Node refuses frames with more meta data than this, in bytes.
MAX_META = 1 << 20

# Linux takes at most 1024 buffers in one call.
_MAX_BUFFERS = 512

# Bound now, so that a job that replaces functions of these modules does not take the control path with it.
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
    """One frame as it came: `blobs` are views into the body, nothing is copied."""

    __slots__ = ("kind", "call_id", "meta", "blobs")

    def __init__(self, kind, call_id, meta, blobs):
        self.kind = kind
        self.call_id = call_id
        self.meta = meta
        self.blobs = blobs


class Channel:
    """The control socket. Only the main thread uses it."""

    def __init__(self, connection):
        connection.settimeout(None)  # a default timeout set by an imported package must not apply
        self._socket = connection
        self._recv_into = connection.recv_into
        self._sendmsg = connection.sendmsg
        self._header = memoryview(bytearray(_HEADER.size))

    def close(self):
        self._socket.close()

    def receive(self):
        """The next frame, or None at the end of the stream. Raises ValueError for what is no frame."""
        if not self._fill(self._header):
            return None
        length, kind, call_id = _unpack_header(self._header)
        if kind == BYE:
            return Frame(kind, call_id, {}, [])
        if kind != CALL or length < _LENGTH.size:
            raise ValueError("not a frame")
        body = memoryview(bytearray(length))
        if not self._fill(body):
            return None
        (meta_length,) = _unpack_length(body)
        start = _LENGTH.size + meta_length
        meta = _decode(str(body[_LENGTH.size : start], "utf-8"))
        blobs = []
        for size in meta.get("blobs", ()):
            blobs.append(body[start : start + size])
            start += size
        if start != length:
            raise ValueError("the blobs do not fill the frame")
        return Frame(kind, call_id, meta, blobs)

    def send(self, kind, call_id, meta, value=()):
        """Sends one frame. `value` is a sequence of byte buffers, which go out from where they lie.

        Raises ValueError, with nothing sent, when there is more meta data than Node takes.
        """
        text = _encode(meta).encode("ascii")
        if len(text) > MAX_META:
            raise ValueError("the meta data is too large")
        head = _pack_length(len(text)) + text
        length = len(head) + sum(map(len, value))
        self._send_all([_pack_header(length, kind, call_id) + head, *value])

    def _fill(self, view):
        """Fills the view from the socket; False when the stream ends first."""
        have = self._recv_into(view, 0, _WAITALL)
        while have < len(view):
            # A signal can cut a read short even though all was asked for.
            more = self._recv_into(view[have:], 0, _WAITALL) if have else 0
            if not more:
                return False
            have += more
        return True

    def _send_all(self, parts):
        first = 0
        while first < len(parts):
            sent = self._sendmsg(parts[first : first + _MAX_BUFFERS])
            while first < len(parts) and sent >= len(parts[first]):
                sent -= len(parts[first])
                first += 1
            if sent:
                parts[first] = memoryview(parts[first])[sent:]
