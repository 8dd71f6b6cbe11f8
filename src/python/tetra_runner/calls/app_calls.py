"""Calls of a deployed app, and of a live resource that serves HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import RequestError, printable
from . import values

if TYPE_CHECKING:
    from ..apps.app import DeployedApp, JobValue, StartError
    from ..messages import AppCallMeta, AppConfig, ErrorMeta, Format
    from ..sources import Sources
    from ..wire import Frame
    from .job import Outcome
    from .streams import Streams

# Limits of a failure in the metadata of a result. Node limits the nesting.
_MAX_FAILURE = 64 << 10
_MAX_NESTED = 90


class AppCall:
    """The decoded CALL frame."""

    format: Format = "json"
    as_json = True

    def __init__(self, frame: Frame, meta: AppCallMeta) -> None:
        self.call_id = frame.call_id
        self.limit = meta["limit"]  # of the result, in bytes
        self.chunk_limit = meta.get("chunkLimit")
        self._blobs = frame.blobs

    def job_input(self) -> Any:
        return values.load(self._blobs[0], True, "the input")


class AppCalls:
    """Runs the calls of the app of this process, or of a live resource."""

    def __init__(self, config: AppConfig | None, sources: Sources, streams: Streams) -> None:
        self._config = config
        self._sources = sources
        self._streams = streams
        self._app: DeployedApp | None = None

    @property
    def app(self) -> DeployedApp:
        if self._app is None:
            # Imported late: live requests need neither this package nor what it imports.
            from ..apps.app import DeployedApp

            if self._config is None:
                raise RequestError("this process has no deployed app")
            self._app = DeployedApp(self._config)
        return self._app

    def run(self, frame: Frame, meta: AppCallMeta, outcome: Outcome) -> None:
        from ..apps.app import StartError

        call = AppCall(frame, meta)
        try:
            if meta["kind"] == "open":
                outcome.value = values.dump(self.app.open(), True, call.limit)
            elif meta["kind"] == "job":
                set_outcome(outcome, self.app.run(call.job_input(), self._streams.emitter(call)), call.limit)
            else:
                self._serve(call, meta)
                outcome.value = values.dump(None, True, call.limit)
        except StartError as error:
            outcome.error = _start_error(error)

    def _serve(self, call: AppCall, meta: AppCallMeta) -> None:
        emit = self._streams.emitter(call)
        socket = meta.get("socket", "")
        code, resource = meta.get("code"), meta.get("resource", "")
        if code is None:
            self.app.serve(socket, lambda: emit({"ready": True}))
            return
        from ..apps.app import serve_source
        from ..apps.starting import starting

        with starting("import"):
            module = self._sources.get(code, resource, lambda _: True).execute_live()
        serve_source(module, resource, socket, lambda: emit({"ready": True}))


def set_outcome(outcome: Outcome, job: JobValue, limit: int) -> None:
    """Encodes what a job returned."""
    outcome.failure = _failure(job.failure)
    outcome.refresh = job.refresh
    if job.value is not None or outcome.failure is None:
        outcome.value = values.dump(job.value, True, limit)


def _failure(value: Any) -> object:
    """A failure that fits into metadata: a large or deeply nested one becomes the beginning and the end of its JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return printable(value, _MAX_FAILURE)
    text = b"".join(values.dump(value, True, values.NO_LIMIT)).decode("ascii")
    if len(text) > _MAX_FAILURE or text.count("[") + text.count("{") > _MAX_NESTED:
        return printable(text, _MAX_FAILURE)
    return value


def _start_error(error: StartError) -> ErrorMeta:
    described = errors.describe(error.cause)
    described["kind"] = "start"
    described["phase"] = error.phase
    described["missing"] = error.missing
    described["systemDependencies"] = error.system_dependencies
    return described
