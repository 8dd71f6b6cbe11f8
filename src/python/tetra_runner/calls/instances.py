"""Objects of jobs' classes that are kept between calls."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import aio
from ..errors import one_line

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Iterable

    from ..messages import InstanceMeta
    from ..process import LoggingSetting
    from .job import Job

# Bound at import: jobs may replace functions of these modules.
_monotonic = time.monotonic
_utc_now = partial(datetime.now, timezone.utc)


class Instance:
    """An object of a job's class, with its event loop, its logging setting and its `__main__` module."""

    def __init__(self, identifier: str, job: Job, fingerprint: str, main: types.ModuleType) -> None:
        self.id = identifier
        self.class_name = job.name
        self.fingerprint = fingerprint
        self.source = job.source
        self.modules = job.modules
        self.main = main
        self.value: Any = None
        self.loop: aio.Loop | None = None
        self.logging: LoggingSetting | None = None
        self.created_at = self.last_used = _utc_now()
        self.used_at = _monotonic()
        self.method_calls = 0

    def touch(self) -> None:
        self.method_calls += 1
        self.last_used = _utc_now()
        self.used_at = _monotonic()

    def run_awaitable(self, awaitable: Awaitable[Any]) -> Any:
        """Runs an awaitable in the loop of the instance, so that objects bound to the loop work in later calls too."""
        if self.loop is None:
            self.loop = aio.Loop()
        return self.loop.run(awaitable)

    def info(self) -> InstanceMeta:
        return {
            "id": self.id,
            "class_name": one_line(self.class_name),
            "created_at": self.created_at.isoformat(),
            "method_calls": self.method_calls,
            "last_used": self.last_used.isoformat(),
        }


class Instances:
    """The instances of this process, the least recently used first."""

    _MAX_REMOVAL_REASONS = 256

    def __init__(self, limit: int, idle_seconds: float) -> None:
        self._limit = max(1, limit)
        self._idle_seconds = idle_seconds
        self._instances: OrderedDict[str, Instance] = OrderedDict()
        # Why instances were removed, by id, for the note of the call that creates one again.
        self._removal_reasons: OrderedDict[str, str] = OrderedDict()

    def uses(self, attribute: str, thing: object) -> bool:
        return any(getattr(instance, attribute) is thing for instance in self._instances.values())

    def count(self) -> int:
        return len(self._instances)

    def has(self, identifier: str | None) -> bool:
        return identifier in self._instances

    def find(self, identifier: str) -> Instance | None:
        instance = self._instances.get(identifier)
        if instance is not None:
            self._instances.move_to_end(identifier)
        return instance

    def add(self, instance: Instance) -> None:
        self._instances[instance.id] = instance

    def why_removed(self, identifier: str) -> str | None:
        """Why an instance was removed; None if it was not, or if the reason was returned before."""
        return self._removal_reasons.pop(identifier, None)

    def remove(self, identifier: str) -> None:
        instance = self._instances.pop(identifier)
        instance.value = None
        if instance.loop is not None:
            instance.loop.close(wait=False)

    def remove_idle(self) -> None:
        """Removes the instances whose idle timeout has expired."""
        if not self._idle_seconds or not self._instances:
            return
        before = _monotonic() - self._idle_seconds
        idle = [instance.id for instance in self._instances.values() if instance.used_at < before]
        self._remove_each(idle, f"after {self._idle_seconds:g} seconds without a call")

    def remove_oldest(self) -> None:
        """Removes the least recently used instances, so that one more does not exceed the limit."""
        surplus = list(self._instances)[: max(0, len(self._instances) - self._limit + 1)]
        self._remove_each(surplus, f"because there were more than {self._limit} instances")

    def remove_all(self, reason: str) -> int:
        """Removes all instances; returns how many there were."""
        identifiers = list(self._instances)
        self._remove_each(identifiers, reason)
        return len(identifiers)

    def _remove_each(self, identifiers: Iterable[str], reason: str) -> None:
        for identifier in identifiers:
            self._removal_reasons[identifier] = reason
            self.remove(identifier)
        while len(self._removal_reasons) > self._MAX_REMOVAL_REASONS:
            self._removal_reasons.popitem(last=False)
        if identifiers:
            gc.collect()  # models are often part of reference cycles, and the next instance needs their memory
