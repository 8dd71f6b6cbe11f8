"""Deferred names of `runpod_flash` in a worker that serves a deployed Flash app.

`from runpod_flash import Endpoint` takes one to three seconds, although the decorators of such a worker return most
functions unchanged. The names of the package that apps use for their decorators are therefore replaced by deferred
objects. They record what is done with them, and load the rest of the package when more is needed, such as for the first
call of another resource. All other names and all submodules are the real ones.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

_BALANCED = ("LiveLoadBalancer", "CpuLiveLoadBalancer", "LoadBalancerSlsResource", "CpuLoadBalancerSlsResource")
_CLASSES = (
    *_BALANCED,
    "CpuInstanceType",
    "CpuLiveServerless",
    "CpuServerlessEndpoint",
    "CudaVersion",
    "DataCenter",
    "GpuGroup",
    "GpuType",
    "LiveServerless",
    "NetworkVolume",
    "PodTemplate",
    "ServerlessEndpoint",
    "ServerlessScalerType",
    "ServerlessType",
)
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
_RESERVED_PATHS = ("/execute", "/ping")

_lock = threading.RLock()


class Deferred:
    """An object of the real package that is made when something is done with it."""

    __slots__ = ("_deferred_make", "_deferred_value")

    def __init__(self, make: Callable[[], Any]) -> None:
        object.__setattr__(self, "_deferred_make", make)

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(real(self))  # so that isinstance works

    def __getattr__(self, name: str) -> Any:
        return getattr(real(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(real(self), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return real(self)(*args, **kwargs)

    def __ror__(self, other: Any) -> Any:
        return other | real(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return real(self).__reduce_ex__(protocol)


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Deferred, *args: Any) -> Any:
        return function(real(self), *args)

    return method


for _name, _function in {
    "__bool__": bool,
    "__contains__": operator.contains,
    "__eq__": operator.eq,
    "__format__": format,
    "__getitem__": operator.getitem,
    "__hash__": hash,
    "__iter__": iter,
    "__len__": len,
    "__or__": operator.or_,
    "__repr__": repr,
    "__str__": str,
}.items():
    setattr(Deferred, _name, _forward(_function))


def is_deferred(value: object) -> bool:
    """isinstance would make the real object."""
    return issubclass(type(value), Deferred)


def is_real(value: Deferred) -> bool:
    try:
        object.__getattribute__(value, "_deferred_value")
    except AttributeError:
        return False
    return True


def real(value: Any) -> Any:
    """The real object of a deferred one, also inside of lists, tuples and dictionaries."""
    if is_deferred(value):
        if not is_real(value):
            with _lock:
                if not is_real(value):
                    made = object.__getattribute__(value, "_deferred_make")()
                    object.__setattr__(value, "_deferred_value", made)
        return object.__getattribute__(value, "_deferred_value")
    kind: Any = type(value)
    if kind in (list, tuple):
        return kind(map(real, value))
    if kind is dict:
        return {real(key): real(item) for key, item in value.items()}
    return value


class DeferredClass(Deferred):
    """A class of the real package. Members of enumerations, and instances, are deferred too."""

    __slots__ = ("_deferred_members", "_deferred_name")

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        super().__init__(make)
        object.__setattr__(self, "_deferred_name", name)
        object.__setattr__(self, "_deferred_members", {})

    def __getattr__(self, name: str) -> Any:
        if not name.isupper() or is_real(self):
            return super().__getattr__(name)
        members: dict[str, Deferred] = object.__getattribute__(self, "_deferred_members")
        return members.setdefault(name, Deferred(lambda: getattr(real(self), name)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return DeferredInstance(self, args, kwargs)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, real(self))

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, real(self))

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (real(self),)


class DeferredInstance(Deferred):
    """An instance of a class of the real package, with the arguments of its constructor."""

    __slots__ = ("_deferred_class", "_deferred_kwargs", "_deferred_resource_name")

    def __init__(self, cls: DeferredClass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(lambda: real(cls)(*real(args), **real(kwargs)))
        object.__setattr__(self, "_deferred_class", object.__getattribute__(cls, "_deferred_name"))
        object.__setattr__(self, "_deferred_kwargs", kwargs)
        object.__setattr__(self, "_deferred_resource_name", args[0] if args else kwargs.get("name"))


class DeferredEndpoint(DeferredInstance):
    """An `Endpoint`, which is a decorator of a function or a class, or has decorators of routes."""

    __slots__ = ("_deferred_routes",)

    def __init__(self, cls: DeferredClass, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(cls, args, kwargs)
        routes: list[tuple[str, str, Any]] = []
        make = object.__getattribute__(self, "_deferred_make")

        def make_with_routes() -> Any:
            endpoint = make()
            for method, path, function in routes:
                getattr(endpoint, method.lower())(path)(function)
            return endpoint

        object.__setattr__(self, "_deferred_routes", routes)
        object.__setattr__(self, "_deferred_make", make_with_routes)

    def __call__(self, target: Any) -> Any:
        kwargs = _kwargs(self)
        if is_real(self) or _is_client(kwargs) or object.__getattribute__(self, "_deferred_routes"):
            return real(self)(target)
        name = object.__getattribute__(self, "_deferred_resource_name") or target.__name__
        config = self._deferred_config(None, None)
        if kwargs.get("max_concurrency", 1) > 1:
            config["max_concurrency"] = kwargs["max_concurrency"]
        return _decorated(target, name, config, lambda: real(self)(target))

    def _deferred_config(self, method: str | None, path: str | None) -> dict[str, Any]:
        resource = Deferred(lambda: real(self)._build_resource_config())
        return _config(resource, _kwargs(self), method, path)

    def _deferred_route(self, method: str, path: Any, data: Any, kwargs: dict[str, Any]) -> Any:
        own = _kwargs(self)
        has_path = isinstance(path, str) and path.startswith("/") and path not in _RESERVED_PATHS
        has_name = object.__getattribute__(self, "_deferred_resource_name") is not None
        if is_real(self) or _is_client(own) or data is not None or kwargs or not has_path or not has_name:
            return getattr(real(self), method.lower())(path, data, **kwargs)

        def decorator(function: Any) -> Any:
            object.__getattribute__(self, "_deferred_routes").append((method, path, function))
            return _route(function, self._deferred_config(method, path))

        return decorator

    def get(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self._deferred_route("GET", path, data, kwargs)

    def post(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self._deferred_route("POST", path, data, kwargs)

    def put(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self._deferred_route("PUT", path, data, kwargs)

    def delete(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self._deferred_route("DELETE", path, data, kwargs)

    def patch(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self._deferred_route("PATCH", path, data, kwargs)


class DeferredEndpointClass(DeferredClass):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return DeferredEndpoint(self, args, kwargs)


def _kwargs(instance: DeferredInstance) -> dict[str, Any]:
    return object.__getattribute__(instance, "_deferred_kwargs")


def _is_client(kwargs: dict[str, Any]) -> bool:
    """Whether an `Endpoint` only calls a resource that has other code."""
    return kwargs.get("id") is not None or kwargs.get("image") is not None


def _config(resource: Any, options: dict[str, Any], method: str | None, path: str | None) -> dict[str, Any]:
    """What decorators of the real package store in `__remote_config__`."""
    return {
        "resource_config": resource,
        "method": method,
        "path": path,
        "dependencies": options.get("dependencies"),
        "system_dependencies": options.get("system_dependencies"),
    }


def _normalized(name: str) -> str:
    name = name[5:] if name.startswith("live-") else name
    return name[:-3] if name.endswith("-fb") else name


def _decorated(target: Any, resource: str, config: dict[str, Any], make: Callable[[], Any]) -> Any:
    """A function or class of this worker's resource itself; of others, what the real decorator makes of it."""
    if _normalized(resource) == _normalized(os.environ["FLASH_RESOURCE_NAME"]):
        target.__remote_config__ = config
        return target
    stub = Deferred(make)
    if isinstance(target, type):
        return stub

    @functools.wraps(target)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await real(stub)(*args, **kwargs)

    vars(wrapper)["__remote_config__"] = config
    return wrapper


def _route(function: Any, config: dict[str, Any]) -> Any:
    """A handler of a route is never replaced."""
    function.__remote_config__ = {**config, "is_lb_route_handler": True}
    function.__is_lb_route_handler__ = True
    return function


def _deferred_remote(load: Callable[[str], Any]) -> Callable[..., Any]:
    """The decorator `remote`. Anything unusual is left to the real one."""

    def remote(*args: Any, **kwargs: Any) -> Any:
        options = dict(kwargs)
        resource = args[0] if args else options.pop("resource_config", None)
        kind: Any = type(resource)
        usual = ("dependencies", "system_dependencies", "accelerate_downloads", "method", "path")
        if len(args) > 1 or kind is not DeferredInstance or any(name not in usual for name in options):
            return load("remote")(*real(args), **real(kwargs))
        name = object.__getattribute__(resource, "_deferred_resource_name")
        is_balanced = object.__getattribute__(resource, "_deferred_class") in _BALANCED
        method, path = options.get("method"), options.get("path")
        is_route = method in _METHODS and isinstance(path, str) and path.startswith("/")
        if not isinstance(name, str) or is_balanced != is_route or (not is_balanced and (method or path)):
            return load("remote")(*real(args), **real(kwargs))
        config = _config(resource, options, method, path)

        def decorator(target: Any) -> Any:
            if is_balanced:
                return _route(target, config)
            return _decorated(target, name, dict(config), lambda: load("remote")(*real(args), **real(kwargs))(target))

        return decorator

    return remote


def serves_app() -> bool:
    """Whether this process serves a resource of a deployed Flash app, in which decorators know what to return."""
    has_worker = bool(os.environ.get("RUNPOD_ENDPOINT_ID") or os.environ.get("RUNPOD_POD_ID"))
    return has_worker and bool(os.environ.get("FLASH_RESOURCE_NAME"))


def defer(package: types.ModuleType) -> None:
    """Replaces the names of a package `runpod_flash` that was just executed, and loads all its names on demand."""
    names = vars(package)
    load = names.get("__getattr__")
    known = names.get("__all__", ())
    if load is None or "Endpoint" in names or "Endpoint" not in known:
        return  # an unknown version

    def load_class(name: str) -> Any:
        names[name] = load(name)
        return names[name]

    for name in _CLASSES:
        if name in known:
            names[name] = DeferredClass(name, functools.partial(load_class, name))
    names["Endpoint"] = DeferredEndpointClass("Endpoint", functools.partial(load_class, "Endpoint"))
    if "remote" in known:
        names["remote"] = _deferred_remote(load)
