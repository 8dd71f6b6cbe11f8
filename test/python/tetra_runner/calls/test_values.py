import json
import math
import pickle
import sys
import types

import cloudpickle
import pytest

from tetra_runner.calls import values
from tetra_runner.errors import ArgumentsError, ResultError, SizeError

LIMIT = 1 << 20


def dumped(value, as_json=False, limit=LIMIT):
    return b"".join(values.dump(value, as_json, limit))


# --- arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 1, "é", [1, {"a": b"b"}], math.inf])
def test_a_pickled_argument_is_loaded(value):
    assert values.load(memoryview(pickle.dumps(value)), False, "args[0]") == value


@pytest.mark.parametrize("value", [None, 1, "é\ud800", [1, {"a": [True]}]])
def test_a_json_argument_is_loaded(value):
    assert values.load(memoryview(json.dumps(value).encode()), True, "args[0]") == value


def test_positional_and_keyword_arguments_are_loaded():
    blobs = [pickle.dumps(number) for number in range(5)]
    loaded = values.load_arguments(iter(blobs), False, "", 2, ["a", "b"])
    assert loaded == ([0, 1], {"a": 2, "b": 3})


@pytest.mark.parametrize(
    ("blobs", "place"),
    [((b"1", b"x"), "constructor_args[1]"), ((b"1", b"1", b"x"), "constructor_kwargs['key']")],
)
def test_the_error_names_the_argument_that_cannot_be_loaded(blobs, place):
    with pytest.raises(ArgumentsError, match="could not be loaded") as error:
        values.load_arguments(iter(blobs), True, "constructor_", 2, ["key"])
    assert str(error.value).startswith(place + " ")


class Fails:
    """Raises an exception when its pickle is loaded."""

    def __init__(self, kind, message):
        self._call = kind, message

    def __reduce__(self):
        return fail, self._call


def fail(kind, message):
    raise kind(message)


@pytest.mark.parametrize(
    ("kind", "message", "is_other"),
    [
        (ValueError, "unsupported pickle protocol: 9", True),
        (TypeError, "code() argument 13 must be str, not int", True),
        (RuntimeError, "unknown opcode 200", True),
        (KeyError, "code argument", False),
        (ValueError, "invalid", False),
    ],
)
def test_the_error_mentions_a_different_python_version_if_that_is_the_likely_cause(kind, message, is_other):
    with pytest.raises(ArgumentsError) as error:
        values.load(pickle.dumps(Fails(kind, message)), False, "args[0]")
    assert ("another version of Python" in str(error.value)) is is_other
    assert isinstance(error.value.__cause__, kind)


def test_a_memory_error_while_an_argument_is_loaded_is_not_replaced():
    with pytest.raises(MemoryError):
        values.load(pickle.dumps(Fails(MemoryError, "")), False, "args[0]")


# --- results -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é", b"b", [1, (2,)], {"a": {3}}, 1 << 100])
def test_a_result_is_pickled(value):
    assert pickle.loads(dumped(value)) == value


def test_a_class_of_a_job_is_pickled_by_value():
    main = types.ModuleType("__main__")
    exec("class Point:\n    x = 3\n", vars(main))
    loaded = cloudpickle.loads(dumped(main.Point()))
    assert loaded.x == 3


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "é\ud800", [1, {"a": []}]])
def test_a_result_is_encoded_as_json(value):
    assert json.loads(dumped(value, as_json=True)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, {1, 2}, b"b", object()])
def test_the_error_describes_a_result_that_is_not_json(value):
    with pytest.raises(ResultError, match=r"^the result, of type \S+, is not JSON: ") as error:
        dumped(value, as_json=True)
    assert error.value.__cause__ is not None


def test_the_error_describes_a_result_that_cannot_be_pickled():
    with pytest.raises(ResultError, match=r"^the result, of type generator, cannot be pickled: TypeError"):
        dumped(item for item in ())


def test_large_buffers_are_not_copied():
    data = bytearray(1 << 20)
    parts = values.dump([pickle.PickleBuffer(data), b"x" * 100_000], False, 1 << 22)
    assert any(isinstance(part, memoryview) and part.obj is data for part in parts)


def test_a_memory_error_while_a_result_is_pickled_is_not_replaced():
    class Big:
        def __reduce__(self):
            raise MemoryError

    with pytest.raises(MemoryError):
        dumped(Big())


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("value", ["x" * 1000, ["x" * 500, "y" * 500], {"a": "z" * 1000}, [[["x" * 1000]]]])
def test_a_result_of_one_byte_above_the_limit_is_rejected(value, as_json):
    size = len(dumped(value, as_json))
    assert len(dumped(value, as_json, size)) == size
    with pytest.raises(SizeError):
        dumped(value, as_json, size - 1)


def test_a_large_result_is_rejected_before_it_is_encoded(monkeypatch):
    monkeypatch.setattr(values, "_dump_any", None)
    with pytest.raises(SizeError, match=r"^at least 2.0 MiB$"):
        dumped([b"x" * (1 << 21)])


def test_a_large_result_is_rejected_while_it_is_encoded():
    with pytest.raises(SizeError, match=r"^more than 1000 bytes$"):
        dumped([[bytes([number]) * 100] for number in range(100)], limit=1000)


# --- the estimate ------------------------------------------------------------------------------------------------


def test_the_estimate_counts_each_object_once():
    text = "x" * 5000
    size = values.MinimumSize(9000)
    for _ in range(10):
        size.add(text)
        size.add((text, text))
    other = "y" * 5000
    with pytest.raises(SizeError, match="at least 10000 bytes"):
        size.add(other)


def test_the_estimate_ignores_small_and_mutable_objects():
    size = values.MinimumSize(0)
    for value in (1, "x" * 1000, bytearray(5000), ["x" * 5000]):
        size.add(value)


class Array:
    """Has the type name of a numpy array."""

    __module__ = "numpy"

    def __init__(self, hasobject):
        self.dtype = types.SimpleNamespace(hasobject=hasobject)
        self.nbytes = 5000


Array.__name__ = "ndarray"


def test_the_estimate_counts_arrays_of_numbers():
    with pytest.raises(SizeError):
        values.MinimumSize(4999).add(Array(hasobject=False))
    values.MinimumSize(4999).add(Array(hasobject=True))


def test_messages_contain_the_version_of_the_running_interpreter():
    assert ".".join(map(str, sys.version_info[:2])) == values._PYTHON
