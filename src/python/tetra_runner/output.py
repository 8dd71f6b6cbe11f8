"""What a job writes: one FIFO behind descriptors 1 and 2, the Python streams on them, and the stdio of C.

A FIFO and not a socket pair, so that `echo x > /dev/stdout` works in a job's shell commands, and one for both
descriptors, so that everything arrives in the order in which it was written.

A process that a job leaves behind still holds the FIFO and could write into a later answer. To find out, fds 1 and 2
share one open file description that carries a flock: children inherit the description and with it the lock. After
the call both descriptors move to a second, unlocked description (the spare). If the lock can be acquired there,
no one else holds the first one. If not, a new FIFO is created and Node is notified: both sides know the names of all
FIFOs, output-1, output-2 and so on.
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
from typing import Any

_PIPE_SIZE = 1 << 20
_LINE_BUFFERED = 1  # _IOLBF of <stdio.h>, the same on Linux and macOS
_NAMES = {1: "<stdout>", 2: "<stderr>"}

# Bound now: jobs may replace functions of os.
_dup2, _fstat, _open, _close = os.dup2, os.fstat, os.open, os.close
_get_blocking, _set_blocking = os.get_blocking, os.set_blocking
_getrusage, _CHILDREN = resource.getrusage, resource.RUSAGE_CHILDREN
_flock, _fcntl, _ioctl = fcntl.flock, fcntl.fcntl, fcntl.ioctl
_from_bytes = int.from_bytes
_fault_enable, _cancel_fault_timer = faulthandler.enable, faulthandler.cancel_dump_traceback_later


def _make_stream(fd: int) -> io.TextIOWrapper:
    """A line buffered stream: each line is out before a crash, and in order with what children write."""
    stream = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    buffer: Any = stream.buffer
    buffer.raw.name = _NAMES[fd]
    return stream


def _same_file(status: os.stat_result, other: os.stat_result) -> bool:
    return status.st_ino == other.st_ino and status.st_dev == other.st_dev


class Output:
    """Owner of descriptors 0, 1 and 2 and of everything in this process that writes to them."""

    def __init__(self, directory: str, high_fd: int) -> None:
        self._directory = directory
        self._high_fd = high_fd
        self._count = 0
        # These keep their numbers; a new file replaces the old one under the same number.
        self._null = self._reserve()
        # Kept open so that a writer never blocks in open, and that the FIFO can be opened again once it is unlinked.
        self._reader = self._reserve()
        # The locked description, as on 1 and 2, to restore it there.
        self._main = self._reserve()
        self._spare = self._reserve()
        self._open_fifo()
        _dup2(self._null, 0)

        self._libc = ctypes.CDLL(None)
        self._flush_c = self._libc.fflush
        self._flush_c.argtypes = [ctypes.c_void_p]
        self._buffer_c_lines()
        self._stdout, self._stderr = _make_stream(1), _make_stream(2)
        self._stdin = sys.stdin
        self._install_streams()
        # The spare, as its number is out of the reach of jobs that close or redirect descriptor 2. Not a copy of the
        # locked description: that one must have no other holder in this process.
        faulthandler.enable(self._spare)
        self._null_status = _fstat(self._null)
        self._children_faults = _getrusage(_CHILDREN).ru_minflt

    # --- the FIFO ---------------------------------------------------------------------------------------------

    def _reserve(self) -> int:
        """A high descriptor number, open on /dev/null, and closed in programs that the process runs."""
        fd = _open(os.devnull, os.O_RDWR)
        reserved = _fcntl(fd, fcntl.F_DUPFD_CLOEXEC, self._high_fd)
        _close(fd)
        return reserved

    @staticmethod
    def _move(fd: int, at: int) -> None:
        """Moves a descriptor to a reserved number, replacing what is there."""
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
                pass  # a user over the pipe quota keeps the normal size
        self._move(_open(path, os.O_WRONLY), self._main)
        self._lock(self._main)
        _dup2(self._main, 1)
        _dup2(self._main, 2)
        self._move(_open(path, os.O_WRONLY), self._spare)
        self._status = _fstat(self._spare)

    @staticmethod
    def _lock(fd: int) -> bool:
        """Acquires the lock that tells whether others hold this description; False when that is impossible."""
        try:
            _flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:  # held by another process, or a system that has no flock on a FIFO
            return False

    def _children_possible(self) -> bool:
        """Whether a child process exists, or one existed since the last time this was called.

        Reading counters of the kernel finds children of C libraries as well as those that Python started.
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
        """How many bytes are in the FIFO that Node has not read yet; -1 when the job has closed our reader."""
        try:
            return _from_bytes(_ioctl(self._reader, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
        except OSError:
            return -1

    def replace_if_shared(self) -> bool:
        """After a call: whether there is a new FIFO, as another process still holds the one before."""
        if not self._children_possible():
            return False
        for fd in (1, 2):
            _dup2(self._spare, fd)
        _dup2(self._spare, self._main, False)
        if self._lock(self._spare):
            try:
                # Node has unlinked the path; the file behind the kept reader is still the same.
                reopened = _open(f"/proc/self/fd/{self._reader}", os.O_WRONLY | os.O_CLOEXEC)
                self._move(reopened, self._spare)
                return False
            except OSError:
                pass
        self._open_fifo()
        return True

    # --- streams ----------------------------------------------------------------------------------------------

    def _buffer_c_lines(self) -> None:
        """Makes the stdout of C line buffered, so that it stays in order with what Python writes."""
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        try:
            c_stdout = ctypes.c_void_p.in_dll(self._libc, name)
        except ValueError:
            return
        self._libc.setvbuf(c_stdout, None, ctypes.c_int(_LINE_BUFFERED), ctypes.c_size_t(0))

    def _install_streams(self) -> None:
        sys.stdout = sys.__stdout__ = self._stdout
        sys.stderr = sys.__stderr__ = self._stderr
        sys.stdin = sys.__stdin__ = self._stdin

    def flush(self) -> None:
        """Flushes whatever streams are in place now, Python's and C's."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # closed, None or an object of the job that has no flush
        self._flush_c(None)

    def restore(self) -> None:
        """After a call: everything written is in the FIFO, and descriptors and streams are as they were."""
        self._repair_descriptors()
        try:
            if sys.stdout is not self._stdout or sys.stderr is not self._stderr:
                self.flush()
                # The job's stream may share our buffer and would close it whenever it is collected.
                self._stdout, self._stderr = _make_stream(1), _make_stream(2)
                self._install_streams()
            self._stdout.flush()
            self._stderr.flush()
        except Exception:  # closed or detached by the job
            self._stdout, self._stderr = _make_stream(1), _make_stream(2)
            self._install_streams()
        if sys.stdin is not self._stdin or self._stdin is None or self._stdin.closed:
            self._stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
            self._install_streams()
        self._flush_c(None)
        # A job may have disabled or redirected it, and its timer could end the process in a later call.
        _fault_enable(self._spare)
        _cancel_fault_timer()

    def _repair_descriptors(self) -> None:
        for fd in (1, 2):
            try:
                if _same_file(_fstat(fd), self._status):
                    # Shared with children, some of which (node, ssh) leave it non-blocking: prints would then fail.
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
        """In a forked child: only descriptors 0, 1 and 2 stay."""
        _fault_enable(2)
        for fd in (self._null, self._reader, self._main, self._spare):
            try:
                _close(fd)
            except OSError:
                pass
