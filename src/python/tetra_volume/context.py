"""What an operation can ask for while it runs: whether it was cancelled, more time, and child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Callable

# Seconds between two reports of progress.
PROGRESS_INTERVAL = 1.0


class Cancelled(Exception):
    """The worker does not wait for the operation any more."""


class Running:
    """An operation that runs in a separate thread."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report = report
        self._reported = time.monotonic()
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()
        self.is_cancelled = False

    def progress(self) -> None:
        if self.is_cancelled:
            raise Cancelled
        now = time.monotonic()
        if now - self._reported >= PROGRESS_INTERVAL:
            self._reported = now
            self._report()

    def cancel(self) -> None:
        with self._lock:
            self.is_cancelled = True
            for child in self._children:
                kill_group(child)

    def start(self, command: Sequence[str], stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.is_cancelled:
                raise Cancelled
            child = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
            self._children.add(child)
            return child

    def forget(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._children.discard(child)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


_local = threading.local()


def enter(running: Running) -> None:
    _local.running = running


def progress() -> None:
    """Long operations call it between their steps: it extends their deadline, and raises Cancelled if nobody waits."""
    running = getattr(_local, "running", None)
    if running is not None:
        running.progress()


def start_program(
    command: Sequence[str],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a program that is killed if the operation is cancelled. Call `finish_program` afterwards."""
    return _local.running.start(command, stdin, stdout, stderr)


def finish_program(child: subprocess.Popen[bytes]) -> int:
    """Kills what is left of a program's process group, and returns the exit code."""
    code = child.wait()
    kill_group(child)
    _local.running.forget(child)
    return code
