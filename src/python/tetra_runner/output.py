"""The output of jobs: descriptors 1 and 2, the Python streams on them, and the stdio of C.

Both descriptors are one FIFO, so that all output arrives in the order in which it was written. It is not a socket pair,
because then `echo x > /dev/stdout` would fail in the shell commands of a job.

A process that a job left running still has the FIFO open, and could write to the output of a later call. To detect
this, descriptors 1 and 2 share an open file description with a flock, which child processes inherit. After the call
both descriptors are changed to a second description without a lock (the spare). If the lock can be acquired on that
one, no other process has the first one. Otherwise a new FIFO is created and Node is notified. The FIFOs are named
output-1, output-2 and so on.
"""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import io
import os
import resource
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_PIPE_SIZE = 1 << 20
_MAX_REDIRECTED = 64 << 10
_LINE_BUFFERED = 1  # _IOLBF of <stdio.h>, the same on Linux and macOS
_NAMES = {1: "<stdout>", 2: "<stderr>"}

# Bound at import: jobs may replace functions of these modules.
_dup2, _fstat, _open, _close = os.dup2, os.fstat, os.open, os.close
_get_blocking, _set_blocking = os.get_blocking, os.set_blocking
_getrusage, _CHILDREN = resource.getrusage, resource.RUSAGE_CHILDREN
_flock, _fcntl, _ioctl = fcntl.flock, fcntl.fcntl, fcntl.ioctl
_from_bytes = int.from_bytes
_fault_enable, _cancel_fault_timer = faulthandler.enable, faulthandler.cancel_dump_traceback_later


def open_stream(fd: int) -> io.TextIOWrapper:
    """A line-buffered stream: no line is lost in a crash, and the order with the output of child processes is kept."""
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _named(stream: io.TextIOWrapper, fd: int) -> io.TextIOWrapper:
    buffer: Any = stream.buffer
    buffer.raw.name = _NAMES[fd]
    return stream


def _same_file(status: os.stat_result, other: os.stat_result) -> bool:
    return status.st_ino == other.st_ino and status.st_dev == other.st_dev


class Output:
    """Owns descriptors 0, 1 and 2 and the streams on them."""

    def __init__(
        self, directory: str, high_fd: int, open_stream: Callable[[int], io.TextIOWrapper] = open_stream
    ) -> None:
        """`open_stream(fd)` opens the Python streams on descriptors 1 and 2."""
        self._open_stream = open_stream
        self._directory = directory
        self._high_fd = high_fd
        self._count = 0
        # The numbers of these descriptors never change: a new file replaces the old one under the same number.
        self._null = self._reserve()
        # Kept open so that a writer never blocks in open, and that the FIFO can be opened again after Node unlinked it.
        self._reader = self._reserve()
        # The same description as descriptors 1 and 2, to restore them.
        self._main = self._reserve()
        self._spare = self._reserve()
        self._open_fifo()
        _dup2(self._null, 0)

        self._libc = ctypes.CDLL(None)
        self._flush_c = self._libc.fflush
        self._flush_c.argtypes = [ctypes.c_void_p]
        self._buffer_c_lines()
        self._stdout, self._stderr = self._make_stream(1), self._make_stream(2)
        self._stdin = sys.stdin
        self._install_streams()
        # The spare, because jobs may close or redirect descriptor 2. Not a duplicate of the locked description, because
        # that would keep the lock.
        faulthandler.enable(self._spare)
        self._null_status = _fstat(self._null)
        self._children_faults = _getrusage(_CHILDREN).ru_minflt

    # --- the FIFO ---------------------------------------------------------------------------------------------

    def _reserve(self) -> int:
        """Opens /dev/null at a high descriptor number, with close-on-exec."""
        fd = _open(os.devnull, os.O_RDWR)
        reserved = _fcntl(fd, fcntl.F_DUPFD_CLOEXEC, self._high_fd)
        _close(fd)
        return reserved

    @staticmethod
    def _move(fd: int, at: int) -> None:
        """Moves a descriptor to a reserved number and closes the file that was there."""
        _dup2(fd, at, False)
        _close(fd)

    def _open_fifo(self) -> None:
        self._count += 1
        path = os.path.join(self._directory, f"output-{self._count}")
        os.mkfifo(path, 0o600)
        self._move(_open(path, os.O_RDONLY | os.O_NONBLOCK), self._reader)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            try:
                _fcntl(self._reader, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
            except OSError:
                pass  # the user is over the pipe quota: the default size remains
        self._move(_open(path, os.O_WRONLY), self._main)
        self._lock(self._main)
        _dup2(self._main, 1)
        _dup2(self._main, 2)
        self._move(_open(path, os.O_WRONLY), self._spare)
        self._status = _fstat(self._spare)

    @staticmethod
    def _lock(fd: int) -> bool:
        """Acquires the lock, which fails if another process has the locked description; returns whether it has it."""
        try:
            _flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:  # another process has it, or the system does not support flock on a FIFO
            return False

    def _children_possible(self) -> bool:
        """Whether a child process exists, or existed since the last call of this method.

        Based on the kernel, and therefore includes child processes that C libraries started.
        """
        faults = _getrusage(_CHILDREN).ru_minflt
        if faults != self._children_faults:
            self._children_faults = faults
            return True
        if not hasattr(os, "waitid"):
            return True
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            return True
        except ChildProcessError:
            return False

    def pending(self) -> int:
        """The number of bytes in the FIFO that Node has not read; -1 if the job closed our reader."""
        try:
            return _from_bytes(_ioctl(self._reader, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
        except OSError:
            return -1

    def replace_if_shared(self) -> bool:
        """After a call: creates a new FIFO if another process has the current one open; returns whether it did."""
        if not self._children_possible():
            return False
        for fd in (1, 2):
            _dup2(self._spare, fd)
        _dup2(self._spare, self._main, False)
        if self._lock(self._spare):
            try:
                # By its reader, because Node has unlinked the path.
                reopened = _open(f"/proc/self/fd/{self._reader}", os.O_WRONLY | os.O_CLOEXEC)
                self._move(reopened, self._spare)
                return False
            except OSError:
                pass
        self._open_fifo()
        return True

    @contextmanager
    def redirected(self) -> Generator[Callable[[], str], None, None]:
        """Writes the output of the block to a file; the value returns its text, at most 64 KiB, after the block."""
        path = os.path.join(self._directory, "idle-output")
        file = _open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        text = ""
        try:
            for fd in (1, 2):
                _dup2(file, fd)
            yield lambda: text
        finally:
            self.flush()
            text = os.pread(file, _MAX_REDIRECTED, 0).decode("utf-8", "replace")
            for fd in (1, 2):
                _dup2(self._main, fd)
            _close(file)

    # --- streams ----------------------------------------------------------------------------------------------

    def _buffer_c_lines(self) -> None:
        """Makes the stdout of C line-buffered, so that the order with the output of Python is kept."""
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        try:
            c_stdout = ctypes.c_void_p.in_dll(self._libc, name)
        except ValueError:
            return
        self._libc.setvbuf(c_stdout, None, ctypes.c_int(_LINE_BUFFERED), ctypes.c_size_t(0))

    def _make_stream(self, fd: int) -> io.TextIOWrapper:
        return _named(self._open_stream(fd), fd)

    def _install_streams(self) -> None:
        sys.stdout = sys.__stdout__ = self._stdout
        sys.stderr = sys.__stderr__ = self._stderr
        sys.stdin = sys.__stdin__ = self._stdin

    def flush(self) -> None:
        """Flushes the current streams of Python and C."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # it is closed, None, or an object without flush
        self._flush_c(None)

    def restore(self) -> None:
        """Flushes the output of a call to the FIFO, and restores the descriptors and streams."""
        self._repair_descriptors()
        try:
            if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
                self.flush()
                # The stream of the job may share our buffer, which is closed when the stream is garbage collected.
                self._stdout, self._stderr = self._make_stream(1), self._make_stream(2)
                self._install_streams()
            self._stdout.flush()
            self._stderr.flush()
        except Exception:  # closed or detached by the job
            self._stdout, self._stderr = self._make_stream(1), self._make_stream(2)
            self._install_streams()
        if sys.stdin is not self._stdin or self._stdin is None or self._stdin.closed:
            self._stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
            self._install_streams()
        self._flush_c(None)
        # A job may have disabled or redirected it, and its timer could kill the process in a later call.
        _fault_enable(self._spare)
        _cancel_fault_timer()

    def _repair_descriptors(self) -> None:
        for fd in (1, 2):
            try:
                if _same_file(_fstat(fd), self._status):
                    # Some child processes (node, ssh) make it non-blocking, also for this process: print would fail.
                    if not _get_blocking(fd):
                        _set_blocking(fd, True)
                    continue
            except OSError:
                pass
            _dup2(self._main, fd)
        try:
            if _same_file(_fstat(0), self._null_status):
                return
        except OSError:
            pass
        _dup2(self._null, 0)

    def close(self) -> None:
        """In a forked child: closes all descriptors except 0, 1 and 2."""
        _fault_enable(2)
        for fd in (self._null, self._reader, self._main, self._spare):
            try:
                _close(fd)
            except OSError:
                pass
