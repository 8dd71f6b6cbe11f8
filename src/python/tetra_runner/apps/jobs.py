"""The input and the value of a job."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import aio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..aio import Emit, RunAwaitable


class JobValue(NamedTuple):
    """What a job returned, by the rules of the runpod package."""

    value: Any
    failure: Any  # the key `error` of a dictionary, if it is truthy
    refresh: bool  # whether the key `refresh_worker` of a dictionary is truthy


class Answered(Exception):
    """Ends a job with a value before its function returns."""

    def __init__(self, answer: JobValue) -> None:
        super().__init__(answer)
        self.answer = answer


def keyword_arguments(job_input: Any, rejected: Callable[[str], Exception]) -> dict[str, Any]:
    """The keyword arguments in the input of a job; raises rejected(message) if the input is not an object."""
    if job_input is None:
        return {}
    if not isinstance(job_input, dict):
        raise rejected(f"Malformed input: expected dict, got {type(job_input).__name__}")
    # Clients send this key because RunPod drops empty inputs.
    return {name: value for name, value in job_input.items() if name != "__empty"}


def is_async(function: Any) -> bool:
    """Whether calls of a function can overlap in an event loop."""
    return any(
        inspect.iscoroutinefunction(part) or inspect.isasyncgenfunction(part)
        for part in (function, getattr(function, "__call__", None))  # noqa: B004
    )


def finish(value: Any, run_awaitable: RunAwaitable, emit: Emit) -> JobValue:
    """The value of a job from what its function returned: an awaitable, a generator or a value."""
    return _job_value(aio.plain_value(value, run_awaitable, _emitter(emit)))


async def finish_async(value: Any, emit: Emit) -> JobValue:
    return _job_value(await aio.plain_value_async(value, _emitter(emit)))


def _emitter(emit: Emit) -> Emit:
    def emit_item(item: Any) -> None:
        if isinstance(item, dict) and item.get("error"):
            raise Answered(JobValue(None, item["error"], False))
        emit(item)

    return emit_item


def _job_value(value: Any) -> JobValue:
    if not isinstance(value, dict) or not ("error" in value or "refresh_worker" in value):
        return JobValue(value, None, False)
    rest = dict(value)  # the function may return the same dictionary again
    failure = rest.pop("error", None)
    return JobValue(rest, failure or None, bool(rest.pop("refresh_worker", None)))
