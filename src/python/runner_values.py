"""Arguments in and results out: pickles (by cloudpickle) or JSON."""

import json
import pickle
import sys

import cloudpickle

from runner_errors import ArgumentsError, ResultError, safe_message, type_name
from runner_wire import MAX_BLOB

_loads, _dumps, _dumps_any = pickle.loads, pickle.dumps, cloudpickle.dumps
_decode_json = json.JSONDecoder().decode
_encode_json = json.JSONEncoder(allow_nan=False).encode

# For exactly these, pickle's own C code does the same as cloudpickle, without setting up a pickler in Python.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))

_PYTHON = "%d.%d" % sys.version_info[:2]


def load(blob, as_json, place):
    """One argument; `place` names it in the message when it cannot be loaded."""
    try:
        return _decode_json(str(blob, "utf-8")) if as_json else _loads(blob)
    except MemoryError:
        raise
    except Exception as error:
        message = safe_message(error)
        text = "%s could not be loaded: %s: %s" % (place, type_name(type(error)), message)
        if not as_json and _from_other_python(error, message):
            text += (
                " (it seems to be pickled by another version of Python than the %s that runs here; functions and "
                "classes can only be loaded by the version that pickled them)" % _PYTHON
            )
        raise ArgumentsError(text) from error


def _from_other_python(error, message):
    return (
        "unsupported pickle protocol" in message
        or (isinstance(error, (TypeError, ValueError)) and "code" in message and "argument" in message)
        or "unknown opcode" in message
    )


def load_arguments(blobs, as_json, prefix, count, names):
    """Positional and keyword arguments from the next items of the iterator `blobs`."""
    args = [load(next(blobs), as_json, "%sargs[%d]" % (prefix, index)) for index in range(count)]
    kwargs = {name: load(next(blobs), as_json, "%skwargs[%r]" % (prefix, name)) for name in names}
    return args, kwargs


def dump(value, as_json):
    """The result as bytes."""
    try:
        if as_json:
            blob = _encode_json(value).encode("ascii")
        elif type(value) in _PLAIN:
            blob = _dumps(value, 5)
        else:
            blob = _dumps_any(value)
    except MemoryError:
        raise
    except Exception as error:
        raise ResultError(_why_not(value, error, as_json)) from error
    if len(blob) > MAX_BLOB:
        raise ResultError("the result is too large to be sent: %d bytes" % len(blob))
    return blob


def _why_not(value, error, as_json):
    what = "the result, of type %s, " % type_name(type(value))
    why = "%s: %s" % (type_name(type(error)), safe_message(error))
    if as_json:
        return (
            what + "is not JSON: %s. With the json format a function can return None, booleans, finite numbers, "
            "strings, lists, tuples and dictionaries of these." % why
        )
    return what + "cannot be pickled: %s" % why
