"""Awaitables and generators that jobs return. asyncio is imported only when needed: importing it takes 30 ms."""

from __future__ import annotations

import os
import selectors
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    Emit = Callable[[Any], None]
    RunAwaitable = Callable[[Awaitable[Any]], Any]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ASYNCIO = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep
_HELPERS = (selectors.__file__,)
_MACHINERY = frozenset(("_run_once", "_run", "run_forever", "run_until_complete"))

# The loop and the task of the current call, while `Loop.run` runs.
_current: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None


def plain_value(value: Any, run_awaitable: RunAwaitable, emit: Emit) -> Any:
    """Resolves the value of a job: the result of an awaitable, the items of a generator as a list, or the value itself.

    `run_awaitable(awaitable)` returns the result of an awaitable. `emit(item)` is called with each item of a generator.
    """
    if isinstance(value, types.CoroutineType) or hasattr(type(value), "__await__"):
        value = run_awaitable(value)
    if isinstance(value, types.AsyncGeneratorType):
        return run_awaitable(_collect_async(value, emit))
    return _collect(value, emit) if isinstance(value, types.GeneratorType) else value


async def plain_value_async(value: Any, emit: Emit) -> Any:
    """`plain_value` for a value in a running loop, whose other tasks run while it is resolved."""
    if isinstance(value, types.CoroutineType) or hasattr(type(value), "__await__"):
        value = await value
    if isinstance(value, types.AsyncGeneratorType):
        return await _collect_async(value, emit)
    return _collect(value, emit) if isinstance(value, types.GeneratorType) else value


def _collect(generator: Iterable[Any], emit: Emit) -> list[Any]:
    items: list[Any] = []
    for item in generator:
        items.append(item)
        emit(item)
    return items


async def _collect_async(generator: AsyncGenerator[Any, Any], emit: Emit) -> list[Any]:
    items: list[Any] = []
    try:
        async for item in generator:
            items.append(item)
            emit(item)
    finally:
        await generator.aclose()
    return items


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def cancel_task(frame: types.FrameType | None) -> bool:
    """Cancels the running task if the signal interrupted code of the event loop itself; returns whether it did.

    An exception in that code would lose callbacks that the loop has already taken from its queue, such as the next step
    of another task, but the loops of instances must stay usable. In the code of a task, the caller raises an exception
    instead, because the task may not return to the loop for a long time.
    """
    events: Any = sys.modules.get("asyncio.events")
    if events is None:
        return False
    while True:
        if frame is None:
            return False
        code = frame.f_code
        if code.co_filename.startswith(_ASYNCIO):
            if code.co_name in _MACHINERY:
                break
        elif not code.co_filename.startswith(_HERE) and code.co_filename not in _HELPERS:
            return False
        frame = frame.f_back
    running = events._get_running_loop()
    try:
        if _current is not None and running in (None, _current[0]):
            loop, task = _current
            loop.call_soon_threadsafe(task.cancel)
        elif running is not None:
            running.call_soon_threadsafe(_cancel_all, running)
        else:
            return False
    except RuntimeError:  # the loop was closed in the meantime
        return False
    return True


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in sys.modules["asyncio"].all_tasks(loop):
        task.cancel()


class Loop:
    """An event loop that stays open between calls, so that objects bound to it can be used in the next call.

    `asyncio.run` and `asyncio.Runner` are not used because they install their own handler for SIGINT.
    """

    def __init__(self) -> None:
        import asyncio

        self._asyncio: Any = asyncio
        # Any, because `_reset` sets private attributes.
        self._loop: Any = asyncio.new_event_loop()
        self.activate()

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def activate(self) -> None:
        """Makes this the current event loop of the thread."""
        self._asyncio.set_event_loop(self._loop)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        global _current
        task = self._loop.create_task(_awaited(awaitable))
        try:
            _current = self._loop, task
            return self._loop.run_until_complete(task)
        finally:
            _current = None
            self._reset()
            if not task.done():  # the call was cancelled: its task must not continue in the next call
                self._cancel([task])

    def close(self, wait: bool = True) -> None:
        """Cancels all tasks and closes the loop; `wait=False` does not wait for the threads of its executor."""
        loop = self._loop
        try:
            self._reset()
            self._cancel(self._asyncio.all_tasks(loop))
            loop.run_until_complete(loop.shutdown_asyncgens())
            if wait:
                loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            self._asyncio.set_event_loop(None)
            loop.close()

    def _reset(self) -> None:
        """Marks the loop as stopped: a cancel can interrupt `run_forever` between its try and its finally."""
        loop = self._loop
        if loop.is_running() or getattr(loop, "_stopping", False):
            self._asyncio._set_running_loop(None)
            loop._thread_id = None
            loop._stopping = False

    def _cancel(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(self._asyncio.gather(*tasks, return_exceptions=True))


def run_once(awaitable: Awaitable[Any]) -> Any:
    """Runs an awaitable in a new loop, which is closed afterwards."""
    loop = Loop()
    try:
        value = loop.run(awaitable)
    except BaseException:
        loop.close(wait=False)
        raise
    loop.close()
    return value


def loop_if_wanted() -> Loop | None:
    """Returns a loop for the constructor of an instance, which may bind objects to it, if asyncio is imported."""
    return Loop() if "asyncio" in sys.modules else None
