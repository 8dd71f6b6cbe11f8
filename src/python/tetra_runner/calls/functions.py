"""Calls of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import aio
from ..errors import RequestError
from ..sources import defined_names
from . import values

if TYPE_CHECKING:
    from .instances import Instances
    from .job import Job, Outcome
    from .streams import Streams


class Functions:
    """Runs functions, which keep no state between calls."""

    def __init__(self, instances: Instances, streams: Streams) -> None:
        self._instances = instances
        self._streams = streams

    def run(self, job: Job, outcome: Outcome) -> None:
        self._instances.remove_idle()
        main = job.source.execute()
        function = vars(main).get(job.name)
        if not callable(function):
            raise RequestError(
                f"the source does not define a function named {job.name!r}; it defines: {defined_names(main)}"
            )
        args, kwargs = job.arguments()
        value = function(*args, **kwargs)
        value = aio.plain_value(value, aio.run_once, self._streams.emitter(job))
        outcome.value = values.dump(value, job.as_json, job.limit)
