"""Reads requests as lines of JSON from stdin and writes the replies to stdout.

{"id": 1, "op": "files.stat", "args": {...}} is answered by {"id": 1, "value": ...} or {"id": 1, "error": {"code":
"EDQUOT", "message": "...", "path": "..."}}. {"id": 1, "progress": true} extends the deadline of a long operation, and
{"cancel": 1} stops it. The main thread never touches the volume, so it can always end the process.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import signal
import sys
import threading
from typing import Any, Optional

from . import context, paths
from .context import Cancelled, Running
from .operations import OperationError, find

MAX_THREADS = 32

_PR_SET_PDEATHSIG = 1


def error_reply(error: BaseException) -> dict[str, Optional[str]]:
    if isinstance(error, OSError) and error.errno is not None:
        code = errno.errorcode.get(error.errno, "UNKNOWN")
        path = error.filename if isinstance(error.filename, str) else None
        return {"code": code, "message": error.strerror or str(error), "path": path}
    if isinstance(error, OperationError):
        return {"code": error.code, "message": str(error), "path": None}
    return {"code": "UNKNOWN", "message": f"{type(error).__name__}: {error}", "path": None}


class Server:
    """Runs each operation in a thread, and sends the replies."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._writing = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._counting = threading.Lock()
        self._threads = 0
        # Requests that are waiting or running.
        self._accepted = 0
        self._running: dict[int, Running] = {}

    def accept(self, request: dict[str, Any]) -> None:
        if "cancel" in request:
            running = self._running.get(request["cancel"])
            if running is not None:
                running.cancel()
            return
        identity = request["id"]
        self._running[identity] = Running(lambda: self._send({"id": identity, "progress": True}))
        with self._counting:
            self._accepted += 1
            if self._threads < min(self._accepted, MAX_THREADS):
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
        self._requests.put(request)

    def stop(self) -> None:
        for running in list(self._running.values()):
            running.cancel()

    def _work(self) -> None:
        while True:
            request = self._requests.get()
            identity = request["id"]
            reply = self._run(identity, request)
            self._running.pop(identity, None)
            with self._counting:
                self._accepted -= 1
            if reply is not None:
                self._send({"id": identity, **reply})

    def _run(self, identity: int, request: dict[str, Any]) -> Optional[dict[str, Any]]:
        running = self._running[identity]
        context.enter(running)
        try:
            if running.is_cancelled:
                return None
            return {"value": find(request["op"])(request["args"])}
        except Cancelled:
            return None
        except BaseException as error:
            return {"error": error_reply(error)}

    def _send(self, reply: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
        with self._writing:
            while rest:
                rest = rest[os.write(self._output, rest) :]


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when the worker ends, even if this process is stopped."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main(roots: str) -> None:
    parent = os.getppid()
    paths.set_roots(json.loads(roots))
    # Only replies go to stdout, whatever an operation or a program prints.
    output = os.dup(1)
    os.dup2(2, 1)
    server = Server(output)
    is_first = True
    for line in sys.stdin.buffer:
        server.accept(json.loads(line))
        if is_first:
            # After the first request, which it would delay by a few milliseconds.
            die_with_parent(parent)
            is_first = False
    server.stop()
    # Does not wait for threads that hang.
    os._exit(0)
