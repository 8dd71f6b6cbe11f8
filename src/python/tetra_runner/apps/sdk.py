"""Functions and APIs that the `runpod` package 2.0 deployed, or sent as source code."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

from .importing import import_module
from .jobs import is_async, keyword_arguments
from .routes import application

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

    from ..aio import RunAwaitable
    from ..messages import AppResource


class Function:
    """The function of a FunctionHandle."""

    is_singleton = False

    def __init__(self, handle: Any) -> None:
        self._function = handle._fn
        self._init = handle._init_fn
        self.overlaps = is_async(self._function)

    def construct(self, run_awaitable: RunAwaitable) -> None:
        if self._init is not None:
            _resolved(self._init(), run_awaitable)

    def call(self, job_input: Any) -> Any:
        return self._function(**keyword_arguments(job_input, TypeError))


class Api:
    """The class or ASGI factory of an ApiHandle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.asgi: Any = None

    def construct(self, run_awaitable: RunAwaitable) -> None:
        handle = self._handle
        if handle._cls is None:
            self.asgi = _resolved(handle._asgi_factory(), run_awaitable)
            if not callable(self.asgi):
                raise TypeError(
                    f"{handle.__name__}() returned a value of type {type(self.asgi).__name__}, not an ASGI application"
                )
            return
        instance = handle._cls()
        if handle._init_name is not None:
            _resolved(getattr(instance, handle._init_name)(), run_awaitable)
        self.asgi = application(handle.spec, instance)


def import_queue(resource: AppResource) -> Function:
    return Function(_import_handle(resource))


def import_api(resource: AppResource) -> Api:
    return Api(_import_handle(resource))


def _import_handle(resource: AppResource) -> Any:
    if not resource["targets"]:
        raise ImportError(f"the manifest of the app does not name the module of {resource['name']!r}")
    target = resource["targets"][0]
    module = import_module(target["module"])
    return find_handle(module, resource["name"])


def find_handle(module: types.ModuleType, resource: str) -> Any:
    """The handle of a resource: the object that replaced the decorated function or class."""
    names: list[str] = []
    for handle in _handles(module):
        if handle.spec.name == resource:
            return handle
        names.append(str(handle.spec.name))
    raise ImportError(
        f"the module {module.__name__!r} does not define a resource named {resource!r}; it defines: "
        f"{', '.join(sorted(set(names))) or 'none'}"
    )


def _handles(module: types.ModuleType) -> Iterator[Any]:
    for value in list(vars(module).values()):
        # Without __getattr__, because a module can contain arbitrary objects.
        spec = inspect.getattr_static(value, "spec", None)
        if inspect.getattr_static(spec, "name", None) is not None and hasattr(spec, "kind"):
            yield value
    # A handle whose name was bound to something else.
    apps = sys.modules.get("runpod.apps.app")
    if apps is not None:
        for app in apps.get_registered_apps():
            yield from app.resources.values()


def _resolved(value: Any, run_awaitable: RunAwaitable) -> Any:
    return run_awaitable(value) if inspect.isawaitable(value) else value
