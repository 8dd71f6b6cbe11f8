"""Frames on the control socket, and the types of their metadata.

A frame is a header of 12 bytes (length of the body, type, call id; little endian), then the body: the length of
the metadata, the metadata as JSON, and blobs back to back. Frames from Node list the lengths of their blobs in
"blobs"; a frame to Node has at most one, the value, whose format the metadata names in "value".

The other side of this contract is src/runner/RunnerProtocol.ts. The golden messages in test/runner/golden have to fit
both.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional, TypedDict, Union

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

Buffer = Union[bytes, memoryview]
Format = Literal["cloudpickle", "json"]
ErrorKind = Literal["exception", "exit", "memory", "cancelled", "request", "arguments", "result", "size"]


class Config(TypedDict):
    """The argument that the runner is started with, as JSON."""

    dir: str  # a private folder for FIFOs and sources
    cwd: str  # the current directory of jobs
    parent: int  # process id of Node
    maxInstances: int
    instanceIdle: float  # seconds; 0 for no limit


class ReadyMeta(TypedDict):
    """READY: the runner can take calls."""

    pid: int
    python: str
    prefix: str
    executable: str
    cloudpickle: str
    value: None


class _StreamMeta(TypedDict, total=False):
    chunkLimit: int  # of each item of a generator, in bytes; absent when items are not streamed


class CallMeta(_StreamMeta):
    """CALL. The blobs are arguments, keyword arguments and those of the constructor, in this order."""

    kind: Literal["function", "class"]
    name: str
    code: str  # source text that defines the name
    format: Format
    args: int
    kwargs: list[str]
    constructorArgs: int
    constructorKwargs: list[str]
    method: str
    instanceId: Optional[str]
    createNewInstance: bool  # build the instance anew, whether or not there is one
    modules: dict[str, str]  # local modules: relative path to source
    limit: int  # of the result, in bytes
    refresh: bool  # packages were installed since the last call
    blobs: list[int]


class ChunkMeta(TypedDict):
    """CHUNK: one item of a generator; without a value when the item is above its limit."""

    value: Optional[Format]


class ErrorMeta(TypedDict):
    """Why a call has no value."""

    kind: ErrorKind
    type: str
    message: str
    traceback: str


class InstanceMeta(TypedDict):
    """The instance that a call used."""

    id: str
    class_name: str
    created_at: str
    method_calls: int
    last_used: str


class ResultMeta(TypedDict):
    """RESULT: how a call ended."""

    ok: bool
    error: Optional[ErrorMeta]
    instance: Optional[InstanceMeta]
    instances: int  # how many there are in the process
    lives: bool  # whether the instance that the call named is one of them
    notes: list[str]
    poisoned: Optional[str]  # why the process must not run another call
    threads: list[str]  # names of threads that the call left running
    pending: int  # bytes of output that Node has not read yet; -1 when unknown
    output: bool  # whether the output continues in a new FIFO
    value: Optional[Format]


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

    def send(self, kind: int, call_id: int, meta: Mapping[str, Any], value: Sequence[Buffer] = ()) -> None:
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
