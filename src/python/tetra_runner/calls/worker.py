"""Executes a call, from its frame to its result."""

from __future__ import annotations

import importlib
import os
import sys
import types
from functools import partial
from typing import TYPE_CHECKING

from .. import errors, process
from ..errors import one_line, printable
from ..installed_imports import InstalledImports
from ..local_modules import ModuleStore
from ..sources import Sources, remove_partial_imports
from .app_calls import AppCalls
from .functions import Functions
from .instances import Instances
from .job import Job, Outcome
from .live import LiveResources
from .methods import Methods
from .streams import Streams

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ..messages import AppCallMeta, Buffer, CallMeta, Format, ImportsMeta, ModulesUsed, ResultMeta, RunnerConfig
    from ..output import Output
    from ..overlap.loop import Overlap
    from ..process import ProcessState
    from ..wire import Channel, Frame
    from .cancel import CancelGate

# Limits of the metadata of a result.
_MAX_NOTES, _MAX_NOTE_BYTES = 20, 2000
_MAX_THREADS, _MAX_THREAD_NAME = 20, 100


def _bounded(notes: list[str]) -> list[str]:
    """Limits the number and size of notes, which contain names from a job."""
    bounded = [printable(note, _MAX_NOTE_BYTES) for note in notes[:_MAX_NOTES]]
    if len(notes) > _MAX_NOTES:
        bounded.append(f"{len(notes) - _MAX_NOTES} more notes were left out.")
    return bounded


def _names(threads: list[threading.Thread]) -> list[str]:
    """The names of threads, without running code of a job: `name` may be a property that hangs or raises."""
    names = [one_line(vars(thread).get("_name", "?"), _MAX_THREAD_NAME) for thread in threads[:_MAX_THREADS]]
    if len(threads) > _MAX_THREADS:
        names.append(f"{len(threads) - _MAX_THREADS} more")
    return names


class Worker:
    """Executes calls, one at a time."""

    def __init__(
        self,
        config: RunnerConfig,
        channel: Channel,
        output: Output,
        gate: CancelGate,
        state: ProcessState,
        startup_modules: frozenset[str],
    ) -> None:
        directory = config["dir"]
        self._output = output
        self._gate = gate
        self._state = state
        self._sources = Sources(os.path.join(directory, "src"))
        self._module_store = ModuleStore(os.path.join(directory, "modules"), startup_modules, config["cwd"])
        self._instances = Instances(config["maxInstances"], config["instanceIdle"])
        streams = Streams(channel, gate)
        self._functions = Functions(self._instances, streams)
        self._methods = Methods(self._instances, state, streams)
        self._live = LiveResources(self._instances, state, streams)
        self._has_app = "app" in config
        self._apps = AppCalls(config.get("app"), self._sources, streams)
        self._idle_main = sys.modules["__main__"] = types.ModuleType("__main__")
        self._threads = process.running_threads()  # at the end of the last call
        self._installed = InstalledImports()
        process.flush_before_exit(output)

    def call(self, frame: Frame) -> tuple[ResultMeta, Sequence[Buffer]]:
        """Executes a CALL; returns the metadata and the value of its RESULT."""
        outcome = Outcome()
        meta = frame.meta
        if "modules" in meta:  # a live request
            self._call_live(frame, meta, outcome)
            result = self._result(outcome, meta["format"], meta["instanceId"])
            result["output"] = self._output.replace_if_shared()
        else:
            self._call_app(frame, meta, outcome)
            # The FIFO stays, because processes that the app started write to it as long as the app is open.
            result = self._result(outcome, meta["format"])
            result["failure"], result["refresh"] = outcome.failure, outcome.refresh
        return result, outcome.value

    def overlap(self, channel: Channel) -> Overlap:
        """The loop for calls that overlap."""
        from ..overlap.loop import Overlap

        overlap = Overlap(channel, self._apps.app, self._output, self._state)
        self._state.handle_interrupts(overlap.on_signal)
        return overlap

    def _call_live(self, frame: Frame, meta: CallMeta, outcome: Outcome) -> None:
        try:
            job = self._prepare(frame, meta, outcome)
        except Exception as error:
            outcome.error = errors.describe(error)
        else:
            self._run(job, outcome)

    def _call_app(self, frame: Frame, meta: AppCallMeta, outcome: Outcome) -> None:
        self._gate.run(partial(self._apps.run, frame, meta, outcome), partial(self._failed, outcome))
        if self._state.in_fork():
            self._exit_fork(1 if outcome.error else 0)

    def _result(self, outcome: Outcome, format: Format, instance_id: str | None = None) -> ResultMeta:
        self._output.restore()
        pending = self._output.pending()
        threads_before, self._threads = self._threads, process.running_threads()
        result = outcome.meta(format)
        result["instances"] = self._instances.count()
        result["lives"] = self._instances.has(instance_id)
        result["notes"] = _bounded(outcome.notes)
        result["threads"] = _names([thread for thread in self._threads if thread not in threads_before])
        result["pending"] = pending
        return result

    def repair(self) -> None:
        """Restores the state of the process; called after the result is sent, so that the client need not wait."""
        if self._has_app:  # what its modules set when they were imported must stay
            self._state.repair_signals()
        else:
            self._state.repair()

    def imported(self) -> ModulesUsed | None:
        """The installed modules that the last call imported; None if there are none."""
        names = [] if self._has_app else self._installed.take()
        if not names:
            return None
        return {"event": "used", "modules": names, "folders": self._installed.module_folders(), "value": None}

    def import_while_idle(self, channel: Channel, meta: ImportsMeta) -> None:
        """Imports modules until the next frame arrives."""
        from ..idle_imports import IdleImports

        IdleImports(channel, self, self._output, self._installed).run(meta)

    def after_import(self) -> None:
        """Restores the state of the process after an import without a call."""
        if self._state.in_fork():
            self._exit_fork(0)
        self._output.restore()
        self._state.reset_logging()
        self._state.repair()
        sys.modules["__main__"] = self._idle_main
        self._threads = process.running_threads()

    def _prepare(self, frame: Frame, meta: CallMeta, outcome: Outcome) -> Job:
        """Everything before the code of the job runs."""
        if meta["refresh"]:
            importlib.invalidate_caches()
        modules = self._module_store.get(meta["modules"], partial(self._instances.uses, "modules"), outcome.notes)
        source = self._sources.get(meta["code"], meta["name"], partial(self._instances.uses, "source"))
        return Job(frame, meta, source, modules)

    def _run(self, job: Job, outcome: Outcome) -> None:
        if job.modules is not None:
            job.modules.activate()
        if job.is_class:
            run = self._methods.run
        elif job.is_live:
            run = self._live.run
        else:
            run = self._functions.run
        self._gate.run(partial(run, job, outcome), partial(self._failed, outcome))
        if self._state.in_fork():
            self._exit_fork(1 if outcome.error else 0)
        if outcome.instance is not None:
            outcome.instance.logging = self._state.logging_setting()
        self._state.reset_logging()
        sys.modules["__main__"] = self._idle_main
        if job.modules is not None:
            job.modules.deactivate()

    def _failed(self, outcome: Outcome, error: BaseException) -> None:
        if isinstance(error, SystemExit) and self._state.in_fork():
            self._exit_fork(error.code if isinstance(error.code, int) else int(error.code is not None))
        cancelled = self._gate.fired
        outcome.value = ()

        def describe() -> None:
            outcome.error = errors.describe(error, cancelled)
            outcome.poisoned = errors.broken_cuda(error)

        def describe_briefly(_: BaseException) -> None:
            if outcome.error is None:
                outcome.error = errors.describe_briefly(error, cancelled or self._gate.fired)

        # The __str__ of an exception is code of the job, which may hang or raise.
        self._gate.run(describe, describe_briefly)
        if cancelled:
            broken = remove_partial_imports()
            if broken is not None:
                outcome.poisoned = f"the cancel interrupted the import of {broken}, which cannot be imported again"

    def _exit_fork(self, status: int) -> None:
        """Ends a forked child whose code returned from the job: only the parent sends a result."""
        self._output.flush()
        process.exit_now(status & 0xFF)
