import asyncio

import pytest

from tetra_runner import aio
from tetra_runner.apps.jobs import Answered, JobValue, finish, finish_async, keyword_arguments


def value_of(returned, emit=lambda _: None):
    return finish(returned, aio.run_once, emit)


@pytest.mark.parametrize("job_input", [None, {}, {"__empty": True}])
def test_an_empty_input_has_no_arguments(job_input):
    assert keyword_arguments(job_input, TypeError) == {}


def test_the_input_itself_is_not_changed():
    job_input = {"a": 1, "__empty": True}
    assert keyword_arguments(job_input, TypeError) == {"a": 1}
    assert job_input == {"a": 1, "__empty": True}


@pytest.mark.parametrize(("job_input", "name"), [([], "list"), ("x", "str"), (0, "int"), (False, "bool")])
def test_an_input_that_is_not_an_object_is_rejected(job_input, name):
    with pytest.raises(TypeError, match=f"Malformed input: expected dict, got {name}"):
        keyword_arguments(job_input, TypeError)


@pytest.mark.parametrize("returned", [None, False, 1, "x", [], {"a": 1}])
def test_values_are_returned_unchanged(returned):
    assert value_of(returned) == JobValue(returned, None, False)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ({"error": "no", "a": 1}, JobValue({"a": 1}, "no", False)),
        ({"error": {"code": 3}}, JobValue({}, {"code": 3}, False)),
        ({"error": None, "a": 1}, JobValue({"a": 1}, None, False)),
        ({"error": "", "refresh_worker": 0}, JobValue({}, None, False)),
        ({"refresh_worker": True, "a": 1}, JobValue({"a": 1}, None, True)),
    ],
)
def test_the_keys_error_and_refresh_worker_are_removed_from_a_result(returned, expected):
    before = dict(returned)
    assert value_of(returned) == expected
    assert returned == before


async def coroutine():
    return {"error": "no"}


async def async_numbers():
    yield 1
    yield 2


async def coroutine_of_a_generator():
    return (number for number in (1, 2))


@pytest.mark.parametrize("run", ["one at a time", "overlapping"])
@pytest.mark.parametrize(
    ("function", "expected", "expected_items"),
    [
        (coroutine, JobValue({}, "no", False), []),
        (async_numbers, JobValue([1, 2], None, False), [1, 2]),
        (coroutine_of_a_generator, JobValue([1, 2], None, False), [1, 2]),
    ],
)
def test_coroutines_and_generators_are_resolved(run, function, expected, expected_items):
    items = []
    if run == "overlapping":
        value = asyncio.run(finish_async(function(), items.append))
    else:
        value = value_of(function(), items.append)
    assert value == expected
    assert items == expected_items


def test_an_item_with_an_error_ends_the_stream():
    def generate():
        yield 1
        yield {"error": "no"}
        yield 2

    items = []
    with pytest.raises(Answered) as caught:
        value_of(generate(), items.append)
    assert caught.value.answer == JobValue(None, "no", False)
    assert items == [1]


def test_an_item_with_an_empty_error_is_an_item():
    items = []
    value_of(iter_of({"error": None}), items.append)
    assert items == [{"error": None}]


def iter_of(*values):
    yield from values
