"""Imports the modules that earlier jobs imported, while the process waits for its first job."""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import sys
import time
from typing import TYPE_CHECKING

from . import clients, wire
from .errors import printable, safe_message, type_name
from .installed_imports import is_installed
from .process import exit_now
from .sources import remove_partial_imports

if TYPE_CHECKING:
    from .calls.worker import Worker
    from .installed_imports import InstalledImports
    from .messages import ImportedMeta, ImportsMeta
    from .output import Output

_MAX_TEXT = 2000


class IdleImports:
    """Imports modules one after the other until a frame arrives.

    An import is never interrupted: most extension modules cannot be imported a second time.
    """

    def __init__(self, channel: wire.Channel, worker: Worker, output: Output, installed: InstalledImports) -> None:
        self._channel = channel
        self._worker = worker
        self._output = output
        self._installed = installed
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def run(self, meta: ImportsMeta) -> None:
        deadline = time.monotonic() + meta["seconds"]
        limit = resident_bytes() + meta["memory"]
        for module in meta["modules"]:
            if self._poll.poll(0) or time.monotonic() > deadline:
                break
            if resident_bytes() + module["bytes"] <= limit:
                self._import(module["name"])
        self._installed.skip()
        self._send({"event": "done", "value": None})

    def _import(self, name: str) -> None:
        if name in sys.modules or not self._is_installed(name):
            return
        self._send({"event": "started", "module": name, "value": None})
        started, before = time.monotonic(), resident_bytes()
        error = ""
        with self._output.redirected() as text:
            try:
                if name.partition(".")[0] == "runpod":
                    clients.prepare()  # also for the live module that imports it later
                importlib.import_module(name)
            except BaseException as failure:  # such as SystemExit
                error = f"{type_name(type(failure))}: {safe_message(failure)}"
        self._worker.after_import()
        broken = remove_partial_imports() if error else None
        self._send(
            {
                "event": "ended",
                "module": name,
                "seconds": round(time.monotonic() - started, 6),
                "bytes": max(0, resident_bytes() - before),
                "error": printable(error, _MAX_TEXT),
                "output": printable(text(), _MAX_TEXT),
                "value": None,
            }
        )
        if broken is not None:  # most extension modules cannot be imported again: Node starts another process
            exit_now(1)

    def _is_installed(self, name: str) -> bool:
        """Whether the package is found in a folder of installed packages, and not among user code."""
        top = name.partition(".")[0]
        try:
            return is_installed(importlib.util.find_spec(top), self._installed.folders)
        except Exception:  # raised by an import hook of a package
            return False

    def _send(self, meta: ImportedMeta) -> None:
        self._channel.send(wire.IMPORTED, 0, meta)


def resident_bytes() -> int:
    """The memory of this process; 0 if unknown."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # not Linux
        return 0
