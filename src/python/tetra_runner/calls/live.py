"""Calls of live resources of SDK 2.0, whose source is a whole module."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from .. import aio
from ..errors import RequestError
from ..sources import LIVE_NAME, defined_names
from . import values

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable

    from ..process import LoggingSetting, ProcessState
    from ..sources import Source
    from .instances import Instances
    from .job import Job, Outcome
    from .streams import Streams


class LiveModule:
    """A module with resources, its event loop and its logging setting."""

    def __init__(self, source: Source, module: types.ModuleType) -> None:
        self.source = source
        self.module = module
        self.logging: LoggingSetting | None = None
        self.initialized: set[str] = set()
        self._loop: aio.Loop | None = None

    def run_awaitable(self, awaitable: Awaitable[Any]) -> Any:
        """Runs an awaitable in the loop of the module: objects bound to it by an init hook work in every call."""
        if self._loop is None:
            self._loop = aio.Loop()
        return self._loop.run(awaitable)

    def activate(self, state: ProcessState) -> None:
        sys.modules[LIVE_NAME] = self.module
        if self.logging is not None:
            state.set_logging(self.logging)
        if self._loop is not None:
            self._loop.activate()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close(wait=False)


class LiveResources:
    """Runs functions of the last module, which stays loaded as in a deployed worker.

    Init hooks run once, and what they load stays in memory. Another source replaces the module: a developer who edits
    a file does not want the models of its previous versions to fill the GPU.
    """

    def __init__(self, instances: Instances, state: ProcessState, streams: Streams) -> None:
        self._instances = instances
        self._state = state
        self._streams = streams
        self._current: LiveModule | None = None

    def run(self, job: Job, outcome: Outcome) -> None:
        self._instances.remove_idle()
        live = self._module_of(job.source)
        resource = vars(live.module).get(job.name)
        # The decorators of SDK 2.0 return a handle, which has the function and its init hook.
        function = getattr(resource, "_fn", resource)
        if not callable(function):
            raise RequestError(
                f"the module does not define a function named {job.name!r}; it defines: {defined_names(live.module)}"
            )
        args, kwargs = job.arguments()
        self._initialize(live, job.name, getattr(resource, "_init_fn", None))
        value = aio.plain_value(function(*args, **kwargs), live.run_awaitable, self._streams.emitter(job))
        outcome.value = values.dump(value, job.as_json, job.limit)
        live.logging = self._state.logging_setting()

    def _module_of(self, source: Source) -> LiveModule:
        live = self._current
        if live is not None and live.source is source:
            live.activate(self._state)
            return live
        if live is not None:
            self._current = None
            sys.modules.pop(LIVE_NAME, None)
            live.close()
            del live
        _forget_declarations()
        gc.collect()  # models are often part of reference cycles, and the new module needs their memory
        live = self._current = LiveModule(source, source.execute_live())
        live.logging = self._state.logging_setting()
        return live

    def _initialize(self, live: LiveModule, name: str, hook: Callable[[], Any] | None) -> None:
        if hook is None or name in live.initialized:
            return
        aio.plain_value(hook(), live.run_awaitable, _ignore)
        live.initialized.add(name)
        live.logging = self._state.logging_setting()


def _forget_declarations() -> None:
    """Removes what the SDK keeps of earlier modules: their apps and entry points have references to everything."""
    for module, name in (("runpod.apps.app", "_clear_registry"), ("runpod.apps.entrypoint", "_clear_entrypoints")):
        clear = getattr(sys.modules.get(module), name, None)
        if clear is not None:
            clear()


def _ignore(_item: Any) -> None:
    """The items of an init hook that is a generator have no receiver."""
