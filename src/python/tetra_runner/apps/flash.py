"""Functions, classes and handler files of apps that `flash build` packed.

The handler files that it generates for queues are not used if the function is known: they fail for synchronous
functions with concurrency, and cannot run generators.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

from ..errors import type_name
from .importing import attribute, import_file, import_module
from .jobs import Answered, JobValue, is_async, keyword_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..aio import RunAwaitable
    from ..messages import AppResource, AppTarget


class Function:
    is_singleton = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.overlaps = is_async(function)

    def construct(self, run_awaitable: RunAwaitable) -> None:
        pass

    def call(self, job_input: Any) -> Any:
        return self._function(**keyword_arguments(job_input, _rejected))


class Class:
    """A class, of which jobs call methods on a single instance."""

    is_singleton = True

    def __init__(self, cls: type, methods: Iterable[str]) -> None:
        self._class = cls
        self._methods = sorted(methods) or _public_methods(cls)
        if not self._methods:
            raise TypeError(f"the class {cls.__name__} has no public methods that jobs could call")
        self.overlaps = all(is_async(getattr(cls, name, None)) for name in self._methods)
        self._instance: Any = None

    def construct(self, run_awaitable: RunAwaitable) -> None:
        self._instance = self._class()

    def call(self, job_input: Any) -> Any:
        arguments = keyword_arguments(job_input, _rejected)
        wanted = arguments.pop("method", None)
        return getattr(self._instance, self._method(wanted))(**arguments)

    def _method(self, wanted: Any) -> str:
        if len(self._methods) == 1:
            return self._methods[0]
        name, methods = self._class.__name__, ", ".join(self._methods)
        if wanted is None:
            raise _rejected(f'class {name} has multiple methods: {methods}. include a "method" key in the input.')
        if wanted not in self._methods:
            raise _rejected(f"unknown method '{wanted}' on {name}. available: {methods}")
        return wanted


class Handler:
    """The function `handler` of a generated file."""

    is_singleton = False

    def __init__(self, handler: Callable[..., Any]) -> None:
        self._handler = handler
        self.overlaps = is_async(handler)

    def construct(self, run_awaitable: RunAwaitable) -> None:
        pass

    def call(self, job_input: Any) -> Any:
        return self._handler({"input": keyword_arguments(job_input, _rejected)})


class Api:
    """The FastAPI application of a generated file."""

    def __init__(self, asgi: Any) -> None:
        self.asgi = asgi

    def construct(self, run_awaitable: RunAwaitable) -> None:
        pass


def import_queue(resource: AppResource, folder: str) -> Function | Class | Handler:
    if not resource["targets"]:
        return Handler(_callable(attribute(_import_handler_file(resource, folder), "handler"), "handler"))
    target = resource["targets"][0]  # a queue has a single function or class
    value = _without_stub(attribute(import_module(target["module"]), target["name"]))
    if isinstance(value, type):
        return Class(value, target["methods"])
    return Function(_callable(value, target["name"]))


def import_api(resource: AppResource, folder: str) -> Api:
    return Api(_callable(attribute(_import_handler_file(resource, folder), "app"), "app"))


def _import_handler_file(resource: AppResource, folder: str) -> types.ModuleType:
    file = resource["handlerFile"]
    if file is None:
        raise ImportError(f"the manifest of the app has neither functions nor a handler file for {resource['name']!r}")
    return import_file(folder, file)


def system_dependencies(targets: Iterable[AppTarget]) -> list[str]:
    """The system packages of imported functions and classes: the manifest does not contain them."""
    found: list[str] = []
    for target in targets:
        value = getattr(sys.modules.get(target["module"]), target["name"], None)
        config = getattr(value, "__remote_config__", None)
        packages = config.get("system_dependencies") if isinstance(config, dict) else None
        found += [package for package in packages or () if isinstance(package, str)]
    return list(dict.fromkeys(found))


def _without_stub(value: Any) -> Any:
    """The function or class of the app, if its name is bound to a stub that calls the endpoint over the network.

    Decorators of the user are kept.
    """
    if isinstance(value, types.FunctionType):
        is_stub = str(value.__globals__.get("__name__")).startswith("runpod_flash.")
        return getattr(value, "__wrapped__", value) if is_stub else value
    if isinstance(value, type):
        return getattr(value, "_wrapped_class", value) if value.__module__.startswith("runpod_flash.") else value
    return getattr(value, "_fn", value)


def _callable(value: Any, name: str) -> Any:
    if not callable(value):
        raise TypeError(f"{name} cannot be called: it is a value of type {type_name(type(value))}")
    return value


def _public_methods(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name, None))]


def _rejected(message: str) -> Exception:
    return Answered(JobValue({"success": False}, message, False))
