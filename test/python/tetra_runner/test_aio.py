import asyncio
import os
import sys
import threading
import types
from unittest.mock import Mock

import pytest

from tetra_runner import aio
from tetra_runner.aio import Loop
from tetra_runner.calls.cancel import Cancelled


@pytest.fixture(autouse=True)
def _no_loop():
    yield
    asyncio.set_event_loop(None)


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


async def numbers():
    for number in range(3):
        await asyncio.sleep(0)
        yield number


# --- values of jobs ----------------------------------------------------------------------------------------------


class Awaitable:
    def __await__(self):
        return double(4).__await__()


@pytest.mark.parametrize("value", [None, 3, "text", [1], iter([1]), range(3), double])
def test_other_values_are_returned_unchanged(value):
    run, emit = Mock(), Mock()
    assert aio.plain_value(value, run, emit) is value
    run.assert_not_called()
    emit.assert_not_called()


@pytest.mark.parametrize(("value", "result"), [(lambda: double(3), 6), (Awaitable, 8)])
def test_awaitables_are_awaited(value, result):
    assert aio.plain_value(value(), aio.run_once, Mock()) == result


@pytest.mark.parametrize("generator", [lambda: (number for number in range(3)), numbers])
def test_items_of_generators_are_emitted_and_collected(generator):
    emitted = []
    assert aio.plain_value(generator(), aio.run_once, emitted.append) == [0, 1, 2]
    assert emitted == [0, 1, 2]


def test_a_coroutine_may_return_a_generator():
    async def job():
        return (number for number in range(2))

    assert aio.plain_value(job(), aio.run_once, Mock()) == [0, 1]


def test_an_async_generator_is_closed_if_an_item_cannot_be_emitted():
    closed = []

    async def job():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    with pytest.raises(ValueError, match="too large"):
        aio.plain_value(job(), aio.run_once, Mock(side_effect=ValueError("too large")))
    assert closed == [True]


# --- loops -------------------------------------------------------------------------------------------------------


def test_objects_bound_to_a_loop_work_in_its_next_run(loop):
    event = asyncio.Event()

    async def wait():
        await asyncio.wait_for(event.wait(), 5)
        return "set"

    async def set_event():
        event.set()

    loop.run(set_event())
    assert loop.run(wait()) == "set"


def test_an_activated_loop_is_the_current_event_loop(loop):
    other = Loop()
    loop.activate()
    assert asyncio.get_event_loop_policy().get_event_loop() is loop._loop
    other.close()


def test_an_interrupted_task_is_cancelled_and_does_not_continue_in_the_next_call(loop):
    steps = []

    async def job():
        try:
            loop._loop.call_soon(interrupt)
            await asyncio.sleep(3600)
            steps.append("continued")
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    def interrupt():
        raise Cancelled

    with pytest.raises(Cancelled):
        loop.run(job())
    assert steps == ["cancelled"]
    assert loop.run(double(1)) == 2


def test_a_loop_that_was_interrupted_while_it_stopped_can_be_used_again(loop):
    # The state after a cancel between the try and the finally of run_forever.
    loop._loop._thread_id = threading.get_ident()
    loop._loop._stopping = True
    asyncio._set_running_loop(loop._loop)
    loop._reset()
    assert loop.run(double(1)) == 2


def test_closing_a_loop_cancels_its_tasks_and_closes_its_generators():
    ended = []

    async def background():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def generate():
        try:
            yield 1
        finally:
            ended.append("generator")

    async def job():
        kept.append(asyncio.ensure_future(background()))
        generator = generate()
        kept.append(generator)
        await generator.asend(None)
        await asyncio.sleep(0)

    kept = []
    loop = Loop()
    loop.run(job())
    loop.close()
    assert ended == ["task", "generator"]
    assert loop._loop.is_closed()


def test_closing_a_loop_waits_for_the_threads_of_its_executor_only_if_requested():
    for wait in (True, False):
        loop, end, ended = Loop(), threading.Event(), threading.Event()

        def work(end=end, ended=ended):
            end.wait(20)
            ended.set()

        async def job(loop=loop, work=work):
            loop._loop.run_in_executor(None, work)

        loop.run(job())
        if wait:
            threading.Timer(0, end.set).start()
        loop.close(wait=wait)
        assert ended.is_set() is wait
        end.set()
        assert ended.wait(20)


def test_the_loop_of_a_single_awaitable_is_closed_even_after_an_error():
    async def fail():
        raise ValueError

    loops = []
    make = asyncio.new_event_loop
    try:
        asyncio.new_event_loop = lambda: loops.append(make()) or loops[-1]
        assert aio.run_once(double(1)) == 2
        with pytest.raises(ValueError):
            aio.run_once(fail())
    finally:
        asyncio.new_event_loop = make
    assert [loop.is_closed() for loop in loops] == [True, True]


def test_a_loop_is_created_only_if_asyncio_is_imported(monkeypatch):
    loop = aio.loop_if_wanted()
    assert isinstance(loop, Loop)
    loop.close()
    monkeypatch.delitem(sys.modules, "asyncio")
    assert aio.loop_if_wanted() is None


# --- cancelling --------------------------------------------------------------------------------------------------


class Frames:
    """A stack frame with its callers."""

    def __init__(self, *places):
        (filename, name), *callers = places
        self.f_code = types.SimpleNamespace(co_filename=filename, co_name=name)
        self.f_back = Frames(*callers) if callers else None


ASYNCIO = os.path.dirname(asyncio.__file__)
MACHINERY = f"{ASYNCIO}/base_events.py", "_run_once"
JOB = "/jobs/job.py", "f"
RUNNER = aio.__file__, "run"


@pytest.fixture
def running(monkeypatch):
    """A mock that is the running event loop."""
    loop = Mock()
    monkeypatch.setattr(asyncio.events, "_get_running_loop", lambda: loop)
    return loop


@pytest.mark.parametrize(
    "places", [(JOB, MACHINERY), (JOB,), (RUNNER, JOB, MACHINERY), (RUNNER,), ((f"{ASYNCIO}/queues.py", "get"), JOB)]
)
def test_a_signal_in_the_code_of_a_job_does_not_cancel_the_task(running, places):
    assert not aio.cancel_task(Frames(*places))
    running.call_soon_threadsafe.assert_not_called()


@pytest.mark.parametrize("places", [(MACHINERY, JOB), ((f"{ASYNCIO}/selector_events.py", "x"), MACHINERY)])
def test_a_signal_in_the_code_of_the_loop_cancels_its_tasks(running, places):
    assert aio.cancel_task(Frames(*places))
    running.call_soon_threadsafe.assert_called_once_with(aio._cancel_all, running)


def test_only_the_task_of_the_call_is_cancelled_in_a_loop_of_the_runner(monkeypatch, running):
    task = Mock()
    monkeypatch.setattr(aio, "_current", (running, task))
    assert aio.cancel_task(Frames(MACHINERY))
    running.call_soon_threadsafe.assert_called_once_with(task.cancel)


def test_no_task_is_cancelled_in_a_loop_that_was_closed_or_has_stopped(monkeypatch, running):
    running.call_soon_threadsafe.side_effect = RuntimeError
    assert not aio.cancel_task(Frames(MACHINERY))
    monkeypatch.setattr(asyncio.events, "_get_running_loop", lambda: None)
    assert not aio.cancel_task(Frames(MACHINERY))


def test_no_task_is_cancelled_without_asyncio(monkeypatch):
    monkeypatch.delitem(sys.modules, "asyncio.events")
    assert not aio.cancel_task(Frames(MACHINERY))
    monkeypatch.undo()
    assert not aio.cancel_task(None)


def test_all_tasks_of_another_loop_are_cancelled():
    async def job():
        asyncio.get_running_loop().call_soon(aio._cancel_all, asyncio.get_running_loop())
        await asyncio.sleep(3600)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(job())
