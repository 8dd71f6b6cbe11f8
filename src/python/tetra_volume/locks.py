"""flock(2) on files of the volume. The locks are held by this process, and released when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Generator
from typing import Any

from .context import Cancelled
from .operations import OperationError
from .paths import open_file, opened

# In bytes: how much of a lock file is read.
_MAX_CONTENT = 200

_MODES = {"exclusive": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH}

_table = threading.Lock()
_held: dict[str, int] = {}
# Locks that were released before they were acquired: the worker did not wait for the reply.
_abandoned: set[str] = set()


def acquire(args: dict[str, Any]) -> bool:
    """One try to lock a file under an id that the worker chose; false if another process holds the lock."""
    path, lock = args["path"], args["lock"]
    # Not O_APPEND: the holder overwrites the content.
    file = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, _MODES[args["mode"]] | fcntl.LOCK_NB)
        with _table:
            if lock in _abandoned:
                _abandoned.discard(lock)
                raise Cancelled
            _held[lock] = file
    except BlockingIOError:
        os.close(file)
        return False
    except BaseException:
        os.close(file)
        raise
    return True


def release(args: dict[str, Any]) -> None:
    lock = args["lock"]
    with _table:
        file = _held.pop(lock, None)
        if file is None:
            _abandoned.add(lock)
    if file is not None:
        # Frees the descriptor even if it fails, as on a volume that is not connected.
        os.close(file)


@contextlib.contextmanager
def _opened(lock: str) -> Generator[int, None, None]:
    """A duplicate of the descriptor, since the lock may be released by another thread meanwhile."""
    with _table:
        file = _held.get(lock)
        if file is None:
            raise OperationError("ENOLCK", "this lock is not held any more")
        file = os.dup(file)
    with opened(file):
        yield file


def write(args: dict[str, Any]) -> None:
    """Replaces the content of a held lock's file, which is never empty meanwhile."""
    content = args["text"].encode()
    with _opened(args["lock"]) as file:
        os.pwrite(file, content, 0)
        os.ftruncate(file, len(content))
        # An exceeded quota is often reported only here.
        os.fsync(file)


def touch(args: dict[str, Any]) -> None:
    """Sets the modification time of a held lock's file, which works on a full volume too."""
    with _opened(args["lock"]) as file:
        os.utime(file)


def read(args: dict[str, Any]) -> str:
    """The start of a lock file."""
    with open(open_file(args["path"], os.O_RDONLY), "rb", buffering=0) as file:
        return file.read(_MAX_CONTENT).decode(errors="replace")
