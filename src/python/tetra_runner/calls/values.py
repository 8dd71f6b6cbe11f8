"""Decoding of arguments and encoding of results, as pickles (by cloudpickle) or JSON."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import cloudpickle

from ..errors import ArgumentsError, ResultError, SizeError, safe_message, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..messages import Buffer

_loads, _dumps, _dump_any = pickle.loads, pickle.dumps, cloudpickle.dump
_decode_json = json.JSONDecoder().decode
_encode_json = json.JSONEncoder(allow_nan=False).encode

# For the estimate before values are encoded: the maximum number of items, and the size in bytes above which an object
# counts.
_MAX_ITEMS = 1000
_MIN_COUNTED_SIZE = 1000

# For these types pickle returns the same as cloudpickle, but is faster.
_PLAIN: frozenset[type] = frozenset((type(None), bool, int, float, str, bytes))

# For values whose size does not matter.
NO_LIMIT = 1 << 62

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def load(blob: Buffer, as_json: bool, place: str) -> Any:
    """Decodes an argument; `place` is its name in the error message."""
    try:
        return _decode_json(str(blob, "utf-8", "replace")) if as_json else _loads(blob)
    except MemoryError:
        raise
    except Exception as error:
        message = safe_message(error)
        text = f"{place} could not be loaded: {type_name(type(error))}: {message}"
        if not as_json and _is_other_python(error, message):
            text += (
                f" (it was probably pickled by another version of Python; this worker has Python {_PYTHON}. Functions "
                "and classes can only be loaded by the version that pickled them)"
            )
        raise ArgumentsError(text) from error


def _is_other_python(error: Exception, message: str) -> bool:
    return (
        "unsupported pickle protocol" in message
        or (isinstance(error, (TypeError, ValueError)) and "code" in message and "argument" in message)
        or "unknown opcode" in message
    )


def load_arguments(
    blobs: Iterator[Buffer], as_json: bool, prefix: str, count: int, names: Sequence[str]
) -> tuple[list[Any], dict[str, Any]]:
    """Decodes positional and keyword arguments from the next items of the iterator `blobs`."""
    args = [load(next(blobs), as_json, f"{prefix}args[{index}]") for index in range(count)]
    kwargs = {name: load(next(blobs), as_json, f"{prefix}kwargs[{name!r}]") for name in names}
    return args, kwargs


def dump(value: Any, as_json: bool, limit: int) -> list[Buffer]:
    """Encodes a result as a list of buffers, which share memory with the value.

    Raises SizeError as soon as their total size is certain to exceed `limit` bytes.
    """
    size = MinimumSize(limit)
    for item in islice(_items(value), _MAX_ITEMS):
        size.add(item)
    try:
        if as_json:
            parts: list[Buffer] = [_encode_json(value).encode("ascii")]
        elif type(value) in _PLAIN:
            parts = [_dumps(value, 5)]
        else:
            file = _LimitedFile(limit)
            _dump_any(value, file)
            parts = file.parts
    except (MemoryError, SizeError):
        raise
    except Exception as error:
        raise ResultError(_failure_message(value, error, as_json)) from error
    total = sum(map(len, parts))
    if total > limit:
        raise SizeError(_size_text(total))
    return parts


def _items(value: Any) -> Iterable[Any]:
    if type(value) is list:
        return value
    return value.values() if type(value) is dict else (value,)


class MinimumSize:
    """A lower bound for the encoded size of values, computed without encoding them.

    It counts only immutable objects and arrays, and each object once, as pickle does: the items of a generator are
    added while it runs, and encoded together when it ends.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._seen: set[int] = set()

    def add(self, value: Any) -> None:
        """Adds a value, which the caller keeps alive; raises SizeError if the sum exceeds the limit."""
        for leaf in islice(value, _MAX_ITEMS) if type(value) is tuple else (value,):
            size = _size_of_leaf(leaf)
            if size > _MIN_COUNTED_SIZE and id(leaf) not in self._seen:
                self._seen.add(id(leaf))
                self._size += size
        if self._size > self._limit:
            raise SizeError(f"at least {_size_text(self._size)}")


def _size_text(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size} bytes"


def _size_of_leaf(value: Any) -> int:
    kind = type(value)
    if kind is bytes or kind is str:
        return len(value)
    if kind.__name__ == "ndarray" and kind.__module__ == "numpy" and not value.dtype.hasobject:
        return value.nbytes
    return 0


class _LimitedFile:
    """A file for picklers that keeps the written buffers and raises SizeError above a limit."""

    def __init__(self, limit: int) -> None:
        self.parts: list[Buffer] = []
        self._limit = limit
        self._size = 0

    def write(self, data: Buffer | pickle.PickleBuffer) -> int:
        if type(data) is not bytes:
            # While a view exists, the buffer cannot be resized.
            view = data.raw() if isinstance(data, pickle.PickleBuffer) else memoryview(data)
            data = view.cast("B")
        self._size += len(data)
        if self._size > self._limit:
            raise SizeError(f"more than {_size_text(self._limit)}")
        self.parts.append(data)
        return len(data)


def _failure_message(value: Any, error: Exception, as_json: bool) -> str:
    what = f"the result, of type {type_name(type(value))},"
    why = f"{type_name(type(error))}: {safe_message(error)}"
    if as_json:
        return (
            f"{what} is not JSON: {why}. With the json format a function can return None, booleans, finite numbers, "
            "strings, lists, tuples and dictionaries of these."
        )
    return f"{what} cannot be pickled: {why}"
