"""Faster imports of the client packages that jobs import: `runpod` (SDK 2.0) and `runpod_flash`.

Modules of user code import these packages for their decorators. Most of the time of that import is spent on an HTTP
library, which is only needed when a job calls another resource. It is imported at its first use instead, so that the
client packages themselves are the real ones.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_CLIENTS = ("runpod", "runpod_flash")
# Packages that the clients use by attributes (`aiohttp.ClientSession`), so that the first one can trigger the import.
_DEFERRED = ("aiohttp",)


class _DeferredModule(types.ModuleType):
    """A module that is executed when an attribute is used that not every module has."""

    def __getattr__(self, name: str) -> Any:
        names = vars(self)
        deferred = names.get("__deferred__")
        if deferred is not None:
            deferred.execute(self)
        if name in names:
            return names[name]
        own = names.get("__getattr__")
        if own is not None:
            return own(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _DeferredLoader(SourceFileLoader):
    def __init__(self, spec: ModuleSpec, loader: SourceFileLoader) -> None:
        super().__init__(loader.name, loader.path)
        self._spec = spec
        self._lock = threading.RLock()
        self._is_running = False

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _DeferredModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        names = vars(module)
        names["__deferred__"] = self
        # Without a path, an import of a submodule executes the package first.
        names.pop("__path__", None)

    def execute(self, module: types.ModuleType) -> None:
        with self._lock:
            if self._is_running or type(module) is types.ModuleType:
                return  # modules that it imports use it, or another thread has executed it
            self._is_running = True
            module.__spec__, module.__loader__ = self._spec, self._spec.loader
            if self._spec.submodule_search_locations is not None:
                module.__path__ = self._spec.submodule_search_locations
            try:
                super().exec_module(module)
            finally:
                self._is_running = False
            del vars(module)["__deferred__"]
            module.__class__ = types.ModuleType


class _VolumesLoader(SourceFileLoader):
    """Tells the volumes of SDK 2.0 where they are mounted, before user code can ask for their paths."""

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        mounts = os.environ.get("RUNPOD_MOUNTS")
        configure = getattr(module, "_configure_mounts", None)
        if mounts and configure is not None:
            configure(json.loads(mounts))


class _FlashLoader(SourceFileLoader):
    """Defers most of Flash in a worker that serves a deployed app."""

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        from . import deferred_flash

        if deferred_flash.serves_app():
            deferred_flash.defer(module)


_OWN_LOADERS: dict[str, type[SourceFileLoader]] = {
    "runpod.apps.volume": _VolumesLoader,
    "runpod_flash": _FlashLoader,
}


class _Finder:
    """Finds the modules that are loaded differently."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        own = _OWN_LOADERS.get(name)
        if own is None and not (name in _DEFERRED and _importer().partition(".")[0] in _CLIENTS):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return spec
        if own is not None:
            spec.loader = own(spec.loader.name, spec.loader.path)
            return spec
        return _deferred(spec, spec.loader)


def _deferred(spec: ModuleSpec, loader: SourceFileLoader) -> ModuleSpec:
    is_package = spec.submodule_search_locations is not None
    deferred = ModuleSpec(spec.name, _DeferredLoader(spec, loader), origin=spec.origin, is_package=is_package)
    deferred.has_location = spec.has_location
    deferred.cached = spec.cached
    return deferred


def _importer() -> str:
    """The name of the module whose import statement is being executed."""
    frame: types.FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    name = frame.f_globals.get("__name__") if frame is not None else None
    return name if isinstance(name, str) else ""


def prepare() -> None:
    """Makes the next imports of client packages faster. Does nothing if it was called before."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
