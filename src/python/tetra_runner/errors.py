"""Error messages and tracebacks for clients, and the detection of CUDA errors."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .messages import ErrorKind, ErrorMeta

_MAX_MESSAGE = 8 << 10
_MAX_TRACEBACK = 64 << 10
_MAX_NAME = 200
_MAX_FRAMES = 200
_MAX_CHAIN = 20

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ASYNCIO = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep

# Built-in types, and those of the job's own code.
_UNNAMED_MODULES = ("builtins", "__main__", "__runpod_live__")

_OUT_OF_MEMORY_TEXTS = ("CUDA out of memory", "CUDA error: out of memory", "CUDA_ERROR_OUT_OF_MEMORY")
# After these errors, every use of CUDA in the process fails.
_BROKEN_CUDA_TEXTS = (
    "device-side assert",
    "illegal memory access",
    "illegal instruction was encountered",
    "misaligned address",
    "unspecified launch failure",
    "hardware stack error",
    "invalid program counter",
    "operation not supported on global/shared address space",
    "uncorrectable ECC error",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_FAILED",
)


class RunnerError(Exception):
    """An error that the runner itself detects; `kind` is the kind of error in the response."""

    kind: ErrorKind = "exception"


class RequestError(RunnerError):
    kind = "request"


class ArgumentsError(RunnerError):
    kind = "arguments"


class ResultError(RunnerError):
    kind = "result"


class SizeError(RunnerError):
    """A value is larger than the limit. The message is its size; Node adds the rest of the sentence."""

    kind = "size"


def printable(text: str, limit: int) -> str:
    """Escapes lone surrogates and shortens the text in its middle to at most `limit` bytes of UTF-8."""
    # Only the ends of a text are encoded, because it may have gigabytes.
    hidden = max(0, len(text) - 2 * limit)
    if hidden:
        text = text[:limit] + text[-limit:]
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode("utf-8")
    half = limit // 2 - 32
    head = data[:half].decode("utf-8", "ignore")
    tail = data[-half:].decode("utf-8", "ignore")
    return f"{head}\n... [{hidden + len(data) - 2 * half} bytes left out] ...\n{tail}"


def one_line(text: str, limit: int = _MAX_NAME) -> str:
    """Replaces unprintable characters in a name from a job, and shortens it."""
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)


def safe_message(error: BaseException) -> str:
    """str(error), or a placeholder if it raises."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose message cannot be shown>"


def type_name(kind: type) -> str:
    module = kind.__module__
    name = kind.__qualname__ if module in _UNNAMED_MODULES else f"{module}.{kind.__qualname__}"
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "..."


def error_meta(kind: ErrorKind, name: str, message: str, trace: str = "") -> ErrorMeta:
    return {
        "kind": kind,
        "type": one_line(name),
        "message": printable(message, _MAX_MESSAGE),
        "traceback": printable(trace, _MAX_TRACEBACK),
    }


def describe(error: BaseException, cancelled: bool = False) -> ErrorMeta:
    """The `error` of a RESULT. It may run code of the job: the __str__ of the exception."""
    name = type_name(type(error))
    message = safe_message(error)
    if isinstance(error, RunnerError):
        trace = format_trace(error.__cause__) if error.__cause__ is not None else ""
        if isinstance(error.__cause__, SyntaxError):
            name = type_name(type(error.__cause__))
        return error_meta(error.kind, name, message, trace)
    trace = format_trace(error)
    if cancelled:
        return error_meta("cancelled", name, "the call was cancelled", trace)
    if isinstance(error, SystemExit):
        return error_meta("exit", name, f"the code called sys.exit({error.code!r})", trace)
    if isinstance(error, MemoryError):
        return error_meta("memory", name, message or "Python ran out of memory", trace)
    return error_meta("exception", name, message, trace)


def describe_briefly(error: BaseException, cancelled: bool = False) -> ErrorMeta:
    """The `error` of a RESULT if `describe` raises; runs no code of the job."""
    kind: ErrorKind = "cancelled" if cancelled else "exception"
    return error_meta(kind, type.__getattribute__(type(error), "__name__"), "an error that cannot be shown")


def format_trace(error: BaseException) -> str:
    """The traceback as Python prints it, without frames of the runner, and of asyncio before those of the job."""
    options: dict[str, Any] = {} if sys.version_info < (3, 10) else {"compact": True}
    # A negative limit keeps the innermost frames.
    whole = traceback.TracebackException(type(error), error, error.__traceback__, limit=-_MAX_FRAMES, **options)
    level = [whole]
    for depth in range(_MAX_CHAIN):
        below: list[traceback.TracebackException] = []
        for part in level:
            _remove_own_frames(part)
            below += [link for link in (part.__cause__, part.__context__) if link is not None]
            below += getattr(part, "exceptions", None) or ()
            if depth == _MAX_CHAIN - 1:
                part.__cause__ = part.__context__ = None
        level = below
    return "".join(whole.format())


def _remove_own_frames(part: traceback.TracebackException) -> None:
    if not part.stack:
        return
    frames: list[traceback.FrameSummary] = []
    for frame in part.stack:
        ours = frame.filename.startswith(_HERE) or (not frames and frame.filename.startswith(_ASYNCIO))
        if not ours:
            frames.append(frame)
    # None, because for an empty stack Python prints the heading "Traceback".
    stack: Any = traceback.StackSummary.from_list(frames) if frames else None
    part.stack = stack


def _chain(error: BaseException) -> list[BaseException]:
    """The exception with its causes, contexts and members of exception groups."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting and len(found) < _MAX_CHAIN:
        current = waiting.pop(0)
        if current is None or any(current is other for other in found):
            continue
        found.append(current)
        waiting += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    return found


def is_cuda_out_of_memory(error: BaseException) -> bool:
    for link in _chain(error):
        if type(link).__name__ == "OutOfMemoryError":
            return True
        if isinstance(link, RuntimeError) and any(text in safe_message(link) for text in _OUT_OF_MEMORY_TEXTS):
            return True
    return False


def broken_cuda(error: BaseException) -> str | None:
    """Why this process can no longer use CUDA, or None."""
    texts = [safe_message(link) for link in _chain(error)]
    for text in texts:
        if any(sign in text for sign in _BROKEN_CUDA_TEXTS):
            return printable(text, 500)
    if not any("CUDA" in text or "cuDNN" in text or "CUBLAS" in text for text in texts):
        return None
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except Exception as failure:
        return printable(safe_message(failure), 500)
    return None
