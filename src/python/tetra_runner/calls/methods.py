"""Calls of methods, on new or existing instances."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING, Any

from .. import aio, errors
from ..errors import RequestError, one_line
from ..sources import defined_names
from . import values
from .instances import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..process import ProcessState
    from .instances import Instances
    from .job import Arguments, Job, Outcome
    from .streams import Streams

_urandom = os.urandom


class Methods:
    """Runs methods of instances."""

    def __init__(self, instances: Instances, state: ProcessState, streams: Streams) -> None:
        self._instances = instances
        self._state = state
        self._streams = streams

    def run(self, job: Job, outcome: Outcome) -> None:
        self._instances.remove_idle()
        fingerprint = job.fingerprint()
        instance = self._reusable(job, fingerprint, outcome.notes)
        if instance is None:
            instance, arguments = self._create(job, fingerprint, outcome.notes)
        else:
            self._activate(instance)
            arguments = job.arguments()
        outcome.instance = instance
        method = _method(instance, job.method)
        instance.touch()
        args, kwargs = arguments
        value = method(*args, **kwargs)
        value = aio.plain_value(value, instance.run_awaitable, self._streams.emitter(job))
        outcome.value = values.dump(value, job.as_json, job.limit)

    def _activate(self, instance: Instance) -> None:
        """Restores the `__main__` module, the logging and the event loop of an instance."""
        sys.modules["__main__"] = instance.main
        if instance.logging is not None:
            self._state.set_logging(instance.logging)
        if instance.loop is not None:
            instance.loop.activate()

    def _reusable(self, job: Job, fingerprint: str, notes: list[str]) -> Instance | None:
        """The existing instance for a call, or None if a new one must be created."""
        identifier = job.instance_id
        if identifier is None:
            return None
        instance = self._instances.find(identifier)
        reason = self._instances.why_removed(identifier)
        if instance is None:
            if reason is not None and not job.create_new_instance:
                notes.append(f"Instance {identifier} was recreated: it was removed {reason}.")
            return None
        if not job.create_new_instance and instance.fingerprint == fingerprint:
            return instance
        if not job.create_new_instance:
            notes.append(
                f"Instance {identifier} was recreated: the code of its class, its local modules or its constructor "
                "arguments have changed."
            )
        del instance  # so that its memory is free before the new instance is created
        self._instances.remove(identifier)
        gc.collect()
        return None

    def _create(self, job: Job, fingerprint: str, notes: list[str]) -> tuple[Instance, Arguments]:
        """Creates an instance. Loads the arguments of the method first: if that fails, no other instance is removed."""
        main = job.source.execute()
        cls = vars(main).get(job.name)
        if not isinstance(cls, type):
            raise RequestError(
                f"the source does not define a class named {job.name!r}; it defines: {defined_names(main)}"
            )
        arguments = job.arguments()
        identifier = job.instance_id
        if identifier is None:
            identifier = f"{one_line(job.name)}_{_urandom(4).hex()}"
        instance = Instance(identifier, job, fingerprint, main)
        self._instances.remove_oldest()
        instance.loop = aio.loop_if_wanted()
        try:
            instance.value = self._construct(cls, job, notes)
        except BaseException:
            if instance.loop is not None:
                instance.loop.close(wait=False)
            raise
        self._instances.add(instance)
        return instance, arguments

    def _construct(self, cls: Callable[..., Any], job: Job, notes: list[str]) -> Any:
        args, kwargs = job.constructor_arguments()
        try:
            return cls(*args, **kwargs)
        except Exception as error:
            if not errors.is_cuda_out_of_memory(error):
                raise
        # Outside of the handler, because the exception references the frames and thereby everything loaded so far.
        count = self._instances.remove_all("because CUDA ran out of memory")
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.cuda.empty_cache()
        notes.append(
            f"CUDA ran out of memory in the constructor of {job.name}: removed the other instances ({count}) and "
            "retried."
        )
        return cls(*args, **kwargs)


def _method(instance: Instance, name: str) -> Callable[..., Any]:
    cls: type = type(instance.value)
    try:
        method = getattr(instance.value, name)
    except AttributeError:
        if hasattr(cls, name):
            raise  # the code of a property raised it
        method = None
    if callable(method):
        return method
    public = [
        key for key in dir(cls) if (not key.startswith("_") or key == "__call__") and callable(getattr(cls, key, None))
    ]
    raise RequestError(
        f"the class {instance.class_name} has no method named {name!r}; it has: {', '.join(public) or 'none'}"
    )
