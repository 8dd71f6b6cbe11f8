"""The types of what Node and the runner send to each other.

The other side of this contract is src/runner/RunnerProtocol.ts. The golden messages in test/runner/golden have to fit
both. Only type checkers and tests import this module, so that no start of the runner takes time for its classes.
"""

from __future__ import annotations

from typing import Literal, Optional, TypedDict, Union

Buffer = Union[bytes, memoryview]
Format = Literal["cloudpickle", "json"]
ErrorKind = Literal["exception", "exit", "memory", "cancelled", "request", "arguments", "result", "size"]


class RunnerConfig(TypedDict):
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
