"""Jobs of an app that overlap: coroutines in one event loop, which also reads the control socket."""

from __future__ import annotations

import contextvars
import select
import sys
from typing import TYPE_CHECKING

from .. import errors, process, wire
from ..calls import app_calls
from ..calls.app_calls import AppCall
from ..calls.cancel import CancelGate, Cancelled
from ..calls.job import Outcome
from ..calls.streams import Streams
from . import attribution
from .shared_channel import SharedChannel

if TYPE_CHECKING:
    import asyncio
    import types

    from ..apps.app import DeployedApp
    from ..output import Output
    from ..process import ProcessState


class _Running:
    """A job that is running."""

    def __init__(self, call: AppCall, output: attribution.CallOutput) -> None:
        self.call = call
        self.output = output
        self.outcome = Outcome()
        self.is_cancelled = False
        self.task: asyncio.Task[None] | None = None


class Overlap:
    """Runs jobs until Node sends BYE or closes the socket."""

    def __init__(self, channel: wire.Channel, app: DeployedApp, output: Output, state: ProcessState) -> None:
        self._receiver = channel
        self._channel = SharedChannel(channel)
        # These calls are cancelled by CANCEL frames.
        self._streams = Streams(self._channel, CancelGate(lambda _: False))
        self._app = app
        self._output = output
        self._state = state
        self._loop = app.loop.event_loop
        self._running: dict[int, _Running] = {}
        self._is_receiving = False
        self._status: int | None = None
        process.prepare_for_forks([self._channel])

    def run(self, first: wire.Frame) -> int:
        """Runs jobs, beginning with a received one; returns the exit status."""
        self._loop.add_reader(self._receiver.fileno(), self._receive)
        self._begin(first)
        while self._status is None and not self._loop.is_closed():
            try:
                self._loop.run_forever()
            except BaseException as error:
                # sys.exit in a task that a job created ends `run_forever`, but must not end the other jobs.
                sys.stderr.write(errors.format_trace(error))
        return wire.PROTOCOL_BROKEN if self._status is None else self._status

    def _end(self, status: int) -> None:
        if self._status is None:
            self._status = status
        self._loop.call_soon_threadsafe(self._loop.stop)

    def on_signal(self, _signum: int, _frame: types.FrameType | None) -> None:
        """Stops a cancelled job whose code blocks the event loop, so that no frames are received."""
        if self._is_receiving:
            return
        while self._status is None and select.select([self._receiver.fileno()], [], [], 0)[0]:
            self._receive()
        if self._channel.is_sending:  # a frame must not be sent partially
            return
        blocking = attribution.current.get()
        if any(running.output is blocking and running.is_cancelled for running in self._running.values()):
            raise Cancelled("the call was cancelled")

    def _receive(self) -> None:
        """Receives a frame. What it asks for is done later by the loop, since a signal may have interrupted a job."""
        if self._status is not None:  # what follows a BYE frame is not a frame
            return
        self._is_receiving = True
        try:
            frame = self._receiver.receive()
        except (OSError, ValueError):
            self._end(wire.PROTOCOL_BROKEN)
            return
        finally:
            self._is_receiving = False
        if frame is None:
            self._end(0)
        elif isinstance(frame, wire.Cancel):
            self._cancel(frame.call_id)
        elif isinstance(frame, wire.Imports):  # only for processes of live requests
            self._end(wire.PROTOCOL_BROKEN)
        else:
            self._loop.call_soon_threadsafe(self._begin, frame)

    def _begin(self, frame: wire.Frame) -> None:
        meta = frame.meta
        if meta["kind"] != "job":
            self._end(wire.PROTOCOL_BROKEN)
            return
        output = attribution.CallOutput(self._channel, frame.call_id)
        running = self._running[frame.call_id] = _Running(AppCall(frame, meta), output)
        context = contextvars.copy_context()
        context.run(attribution.current.set, output)
        running.task = context.run(self._loop.create_task, self._run(running))

    def _cancel(self, call_id: int) -> None:
        running = self._running.get(call_id)
        if running is not None:
            running.is_cancelled = True
        # Later, because its call may have been received in the same signal and has not begun then.
        self._loop.call_soon_threadsafe(self._cancel_task, call_id)

    def _cancel_task(self, call_id: int) -> None:
        running = self._running.get(call_id)
        if running is not None and running.task is not None:
            running.is_cancelled = True
            # After the first step of the task: one that never starts sends no result.
            self._loop.call_soon(running.task.cancel)

    async def _run(self, running: _Running) -> None:
        outcome, call = running.outcome, running.call
        try:
            value = await self._app.run_overlapping(call.job_input(), self._streams.emitter(call))
            app_calls.set_outcome(outcome, value, call.limit)
        except BaseException as error:  # SystemExit would end the event loop
            outcome.value = ()
            outcome.error = errors.describe(error, running.is_cancelled)
            outcome.poisoned = errors.broken_cuda(error)
        self._finish(running)

    def _finish(self, running: _Running) -> None:
        """Sends the result of a job."""
        outcome = running.outcome
        if self._state.in_fork():  # only the parent sends a result
            self._output.flush()
            process.exit_now(1 if outcome.error else 0)
        call_id = running.call.call_id
        del self._running[call_id]
        running.output.close()
        meta = outcome.meta("json")
        meta["failure"], meta["refresh"] = outcome.failure, outcome.refresh
        try:
            self._channel.send(wire.RESULT, call_id, meta, outcome.value)
        except (OSError, ValueError):
            self._end(wire.PROTOCOL_BROKEN)
