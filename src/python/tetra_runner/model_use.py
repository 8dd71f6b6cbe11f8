"""Records which snapshots of models jobs use, so that fresh containers can copy them to their disk."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

# The folder for the records, set by the worker if it copies models.
FOLDER = "WORKER_MODEL_USE"

# A file of a snapshot in a hub cache. Libraries in C and Rust read the weights, but each model has a file that is read
# in Python, such as config.json.
_SNAPSHOT = re.compile(r"(?:^|/)((?:models|datasets|spaces)--[^/]+)/snapshots/([^/]+)/")

# More snapshots than any worker keeps local copies of.
_MAX_RECORDS = 64

# Bound at import: jobs may replace functions of these modules.
_open, _close, _fspath, _join = os.open, os.close, os.fspath, os.path.join


def record_models() -> None:
    """If the worker wants it, creates an empty file `<repository>@<revision>` for each snapshot that is read."""
    folder = os.environ.pop(FOLDER, None)
    if folder is None:
        return
    recorded: set[str] = set()

    def on_event(event: str, args: tuple[Any, ...]) -> None:
        if event != "open":
            return
        try:
            path = _fspath(args[0])
        except TypeError:
            return  # a descriptor
        if type(path) is not str or "/snapshots/" not in path:
            return
        found = _SNAPSHOT.search(path)
        if found is None:
            return
        name = f"{found[1]}@{found[2]}"
        if name in recorded or len(recorded) == _MAX_RECORDS:
            return
        recorded.add(name)
        try:
            _close(_open(_join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        except OSError:
            pass  # a job must not fail because its use of a model can't be recorded

    sys.addaudithook(on_event)
