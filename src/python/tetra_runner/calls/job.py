"""The input and the outcome of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..local_modules import digest_of
from . import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..local_modules import LocalModules
    from ..messages import Buffer, CallMeta, ErrorMeta, Format, ResultMeta
    from ..sources import Source
    from ..wire import Frame
    from .instances import Instance

    Arguments = tuple[list[Any], dict[str, Any]]

_MAX_POISONED = 500


class Job:
    """The decoded CALL frame, with its source and local modules."""

    def __init__(self, frame: Frame, meta: CallMeta, source: Source, modules: LocalModules | None) -> None:
        self.call_id = frame.call_id
        self.is_class = meta["kind"] == "class"
        self.name = meta["name"]
        self.source = source
        self.modules = modules
        self.format: Format = meta["format"]
        self.as_json = self.format == "json"
        # Clients of SDK 2.0 always use JSON.
        self.is_live = self.as_json and source.declares_resources
        self.limit = meta["limit"]  # of the result, in bytes
        self.chunk_limit = meta.get(
            "chunkLimit"
        )  # of each item of a generator, in bytes; None if items are not streamed
        self.instance_id = meta["instanceId"]
        self.create_new_instance = meta["createNewInstance"]
        self.method = meta["method"] or "__call__"
        self._arguments = meta["args"], meta["kwargs"]
        self._constructor = meta["constructorArgs"], meta["constructorKwargs"]
        split = meta["args"] + len(meta["kwargs"])
        self._blobs, self._constructor_blobs = frame.blobs[:split], frame.blobs[split:]

    def arguments(self) -> Arguments:
        count, names = self._arguments
        return values.load_arguments(iter(self._blobs), self.as_json, "", count, names)

    def constructor_arguments(self) -> Arguments:
        count, names = self._constructor
        return values.load_arguments(iter(self._constructor_blobs), self.as_json, "constructor_", count, names)

    def fingerprint(self) -> str:
        """The same for calls whose constructor would create the same object."""
        folder = self.modules.folder if self.modules is not None else ""
        names = "\0".join(self._constructor[1])
        return digest_of((self.source.text, self.name, folder, names, *self._constructor_blobs))


class Outcome:
    """The outcome of a call, which is filled in while the call runs."""

    def __init__(self) -> None:
        self.value: Sequence[Buffer] = ()
        self.error: ErrorMeta | None = None
        self.instance: Instance | None = None
        self.notes: list[str] = []
        self.poisoned: str | None = None
        self.failure: object = None  # the error that an app returned besides its value
        self.refresh = False  # whether an app asked to stop the worker

    def meta(self, format: Format) -> ResultMeta:
        """The metadata of a result, without what is known only to the process."""
        return {
            "ok": self.error is None,
            "error": self.error,
            "instance": None if self.instance is None else self.instance.info(),
            "instances": 0,
            "lives": False,
            "notes": [],
            "poisoned": None if self.poisoned is None else one_line(self.poisoned, _MAX_POISONED),
            "threads": [],
            "pending": 0,
            "output": False,
            "value": format if self.value else None,
        }
