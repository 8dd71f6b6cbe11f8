"""The HTTP server of an app: uvicorn on a Unix socket, behind the server of Node."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .importing import import_module
from .starting import starting

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Generator

    from ..aio import Loop

# How long open requests may run after a cancel: shorter than the default of WORKER_CANCEL_GRACE, so that the shutdown
# of the app can run too.
_GRACE_SECONDS = 3


class _Application:
    """The ASGI application of the app; remembers why its startup failed, which uvicorn only logs."""

    def __init__(self, asgi: Any) -> None:
        self._asgi = asgi
        self.lifespan_error: BaseException | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._asgi(scope, receive, send)
        except BaseException as error:
            if scope["type"] == "lifespan":
                self.lifespan_error = error
            raise


def import_server() -> types.ModuleType:
    with starting("import"):
        return import_module("uvicorn")


def serve(asgi: Any, loop: Loop, socket_path: str, ready: Callable[[], None]) -> None:
    """Serves an ASGI application until the first SIGINT. Calls ready() when the socket accepts connections."""
    uvicorn = import_server()
    with starting("import"):
        config = _configuration(uvicorn, asgi, socket_path)
        config.load()  # resolves the version of ASGI
    application = config.loaded_app = _Application(config.loaded_app)
    server = _server(uvicorn, config, ready)
    with _stopped_by_sigint(server):
        try:
            loop.run(server.serve())
        except SystemExit:  # uvicorn exits if the startup fails
            if server.started:
                raise
    if not server.started:
        with starting("construct"):
            raise application.lifespan_error or RuntimeError("the startup of the ASGI application failed")


def _configuration(uvicorn: types.ModuleType, asgi: Any, socket_path: str) -> Any:
    return uvicorn.Config(
        asgi,
        uds=socket_path,
        log_config=None,
        log_level="warning",
        access_log=False,
        # Node adds these headers.
        server_header=False,
        date_header=False,
        # Only Node connects to the socket, and sends the address of the client.
        forwarded_allow_ips="*",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def _server(uvicorn: types.ModuleType, config: Any, ready: Callable[[], None]) -> Any:
    base: Any = uvicorn.Server

    class Server(base):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                ready()

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            """The runner handles signals."""
            yield

    return Server(config)


@contextmanager
def _stopped_by_sigint(server: Any) -> Generator[None, None, None]:
    """Stops a running server gracefully at the first SIGINT. The handler of the runner gets all others."""

    def stop(number: int, frame: types.FrameType | None) -> None:
        if server.started and not server.should_exit:
            server.should_exit = True
        elif callable(previous):
            previous(number, frame)

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
