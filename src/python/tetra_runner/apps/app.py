"""The deployed app of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import aio, clients
from . import flash, sdk
from .jobs import Answered, JobValue, finish, finish_async
from .starting import StartError, starting

if TYPE_CHECKING:
    import types
    from collections.abc import Callable
    from typing import Protocol

    from ..aio import Emit, RunAwaitable
    from ..messages import AppConfig

    class Queue(Protocol):
        """What jobs call."""

        overlaps: bool
        is_singleton: bool

        def construct(self, run_awaitable: RunAwaitable) -> None: ...

        def call(self, job_input: Any) -> Any: ...

    class Api(Protocol):
        """What serves HTTP requests: `asgi` is set by `construct`."""

        asgi: Any

        def construct(self, run_awaitable: RunAwaitable) -> None: ...


__all__ = ["DeployedApp", "JobValue", "StartError", "serve_source"]


class DeployedApp:
    """A resource of a deployed app, whose code is imported and whose objects are constructed once."""

    def __init__(self, config: AppConfig) -> None:
        self._resource = config["resource"]
        self._folder = config["path"][-1]
        self._queue: Queue | None = None
        self._api: Api | None = None
        self._opened: dict[str, Any] | None = None
        # The import, the constructor, the init hook and all jobs use this loop, so that they can share objects bound to
        # it.
        self.loop = aio.Loop()
        self.overlaps = False

    def open(self) -> dict[str, Any]:
        """Imports and constructs the app; raises StartError."""
        if self._opened is None:
            self.loop.activate()
            self._import()
            packages = flash.system_dependencies(self._resource["targets"])
            try:
                self._construct()
            except StartError as error:
                error.system_dependencies = packages
                raise
            is_singleton = self._queue is None or self._queue.is_singleton
            self._opened = {
                "overlaps": self.overlaps,
                "isSingleton": is_singleton,
                "systemDependencies": packages,
            }
        return self._opened

    def _import(self) -> None:
        clients.prepare()
        resource = self._resource
        is_flash = resource["client"] == "flash"
        with starting("import", [target["module"] for target in resource["targets"]]):
            if resource["kind"] == "api":
                from .http import import_server  # only HTTP needs it

                import_server()
                self._api = flash.import_api(resource, self._folder) if is_flash else sdk.import_api(resource)
            else:
                self._queue = flash.import_queue(resource, self._folder) if is_flash else sdk.import_queue(resource)

    def _construct(self) -> None:
        with starting("construct"):
            if self._api is not None:
                self._api.construct(self.loop.run)
            elif self._queue is not None:
                self._queue.construct(self.loop.run)
                self.overlaps = self._queue.overlaps

    def run(self, job_input: Any, emit: Emit) -> JobValue:
        """Runs a job, while no other job runs. `emit` is called with each item of a generator."""
        queue = self._opened_queue()
        self.loop.activate()
        try:
            return finish(queue.call(job_input), self.loop.run, emit)
        except Answered as answered:
            return answered.answer

    async def run_overlapping(self, job_input: Any, emit: Emit) -> JobValue:
        """Runs a job in `loop`, while other jobs run there."""
        try:
            return await finish_async(self._opened_queue().call(job_input), emit)
        except Answered as answered:
            return answered.answer

    def serve(self, socket_path: str, ready: Callable[[], None]) -> None:
        """Serves HTTP until the call is cancelled. Calls ready() when the socket accepts connections."""
        self.open()
        if self._api is None:
            raise TypeError(f"the resource {self._resource['name']!r} is a queue, not an API")
        self.loop.activate()
        _serve(self._api, self.loop, socket_path, ready)

    def _opened_queue(self) -> Queue:
        if self._opened is None or self._queue is None:
            raise RuntimeError("the app is not open, or it does not serve jobs")
        return self._queue


def serve_source(code_module: types.ModuleType, resource: str, socket_path: str, ready: Callable[[], None]) -> None:
    """Serves an API of SDK 2.0 whose source was executed as `code_module`, like DeployedApp.serve."""
    loop = aio.Loop()
    try:
        with starting("import"):
            api = sdk.Api(sdk.find_handle(code_module, resource))
        with starting("construct"):
            api.construct(loop.run)
        _serve(api, loop, socket_path, ready)
    finally:
        loop.close(wait=False)


def _serve(api: Api, loop: aio.Loop, socket_path: str, ready: Callable[[], None]) -> None:
    from .http import serve  # only HTTP needs it

    serve(api.asgi, loop, socket_path, ready)
