"""The routes of an API class of SDK 2.0."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from .importing import import_module
from .jobs import is_async
from .starting import starting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Endpoint = Callable[[Any], Awaitable[Any]]


def application(spec: Any, instance: object) -> Any:
    """A FastAPI application with the routes of `spec`, whose handlers are methods of the instance."""
    with starting("import"):
        fastapi: Any = import_module("fastapi")
    app = fastapi.FastAPI(title=spec.name)
    for route in spec.routes:
        endpoint = _endpoint(getattr(instance, route.handler_name), fastapi)
        app.add_api_route(route.path, endpoint, methods=[route.method], response_model=None)
    return app


def _endpoint(method: Callable[..., Any], fastapi: Any) -> Endpoint:
    """Calls a method with the JSON body as its argument, or without arguments if the request has no body."""
    run_in_thread = import_module("fastapi.concurrency").run_in_threadpool
    signature = inspect.signature(method)
    is_blocking = not is_async(method)

    async def endpoint(request: Any) -> Any:
        body = await request.body()
        try:
            arguments = [json.loads(body)] if body else []
        except (ValueError, RecursionError) as error:
            raise fastapi.HTTPException(422, f"The body is not valid JSON: {error}") from error
        try:
            signature.bind(*arguments)
        except TypeError as error:
            problem = "does not accept a body" if arguments else "requires a JSON body"
            raise fastapi.HTTPException(422, f"This route {problem}: {error}") from error
        value = await run_in_thread(method, *arguments) if is_blocking else method(*arguments)
        return await value if inspect.isawaitable(value) else value

    # FastAPI reads them; a name in the source is not visible to it.
    endpoint.__annotations__ = {"request": fastapi.Request}
    endpoint.__name__ = method.__name__
    endpoint.__doc__ = method.__doc__
    return endpoint
