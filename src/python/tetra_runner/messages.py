"""The types of the messages between Node and the runner.

The TypeScript side of this contract is src/runner/RunnerProtocol.ts. The tests of both sides read the golden messages
in test/runner/golden. Only type checkers and tests import this module, because its classes would delay the start.
"""

from __future__ import annotations

from typing import Literal, Optional, TypedDict, Union

Buffer = Union[bytes, memoryview]
Format = Literal["cloudpickle", "json"]
ErrorKind = Literal["exception", "exit", "memory", "cancelled", "request", "arguments", "result", "size"]


class RunnerConfig(TypedDict):
    """The argument that the runner is started with, as JSON."""

    dir: str  # a private folder for FIFOs and source files
    cwd: str  # the current directory of jobs
    parent: int  # process id of Node
    maxInstances: int
    instanceIdle: float  # the idle timeout of instances, in seconds; 0 for none


class ReadyMeta(TypedDict):
    """READY: the runner is ready for calls."""

    pid: int
    python: str
    prefix: str
    executable: str
    cloudpickle: str
    value: None


class _StreamMeta(TypedDict, total=False):
    chunkLimit: int  # of each item of a generator, in bytes; absent if items are not streamed


class CallMeta(_StreamMeta):
    """CALL. Its blobs are the arguments, the keyword arguments, and those of the constructor, in this order."""

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
    createNewInstance: bool  # create the instance again if it exists
    modules: dict[str, str]  # the source of local modules, by their relative path
    limit: int  # of the result, in bytes
    refresh: bool  # whether packages were installed since the last call
    blobs: list[int]


class ChunkMeta(TypedDict):
    """CHUNK: an item of a generator, without a value if it exceeds its limit."""

    value: Optional[Format]


class ErrorMeta(TypedDict):
    """Why a call has no value."""

    kind: ErrorKind
    type: str
    message: str
    traceback: str


class InstanceMeta(TypedDict):
    """The instance of a call."""

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
    instances: int  # the number of instances in the process
    lives: bool  # whether the instance of the call is one of them
    notes: list[str]
    poisoned: Optional[str]  # why the process cannot run another call
    threads: list[str]  # the names of threads that are still running
    pending: int  # bytes of output that are still in the FIFO; -1 if unknown
    output: bool  # whether the output continues in a new FIFO
    value: Optional[Format]
