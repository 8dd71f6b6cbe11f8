"""The process of the runner: its start, forks, and the state that is restored after each call."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Protocol

    from .calls.cancel import CancelGate
    from .output import Output

    _StreamHandler = logging.StreamHandler[TextIO]

    class Closeable(Protocol):
        def close(self) -> None: ...

    LoggingSetting = tuple[list[logging.Handler], int, int]  # handlers and level of the root logger, disabled level
else:
    _StreamHandler = logging.StreamHandler
    import _signal  # the C functions: those of `signal` convert every value to an enum, which takes 1 us each

# Bound at import: jobs may replace functions of these modules.
_getpid, _getcwd, _chdir, _makedirs, _umask = os.getpid, os.getcwd, os.chdir, os.makedirs, os.umask
_getsignal, _set_signal = _signal.getsignal, _signal.signal
_pthread_sigmask, _set_wakeup_fd = _signal.pthread_sigmask, _signal.set_wakeup_fd
_getitimer, _setitimer = _signal.getitimer, _signal.setitimer
_getrecursionlimit, _setrecursionlimit = sys.getrecursionlimit, sys.setrecursionlimit
_gettrace, _settrace, _getprofile, _setprofile = sys.gettrace, sys.settrace, sys.getprofile, sys.setprofile
_os_exit = os._exit

_PR_SET_PDEATHSIG = 1
_CONTROL_DESCRIPTORS_FROM = 900

# Libraries that log too much at DEBUG.
_QUIET_LOGGERS = (
    "asyncio",
    "filelock",
    "fsspec",
    "h5py",
    "httpcore",
    "matplotlib",
    "numba",
    "PIL",
    "urllib3",
)


def exit_now(status: int) -> NoReturn:
    """Exits without the cleanup of the interpreter, even if a job has replaced os._exit."""
    _os_exit(status)


def high_descriptor_base() -> int:
    """The lowest number for descriptors of the runner. Jobs that close all low descriptors do not close these."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(_CONTROL_DESCRIPTORS_FROM, soft - 32))


def move_descriptor(fd: int, lowest: int) -> int:
    """Moves a descriptor to a free number, at least `lowest`, with close-on-exec."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved


def die_with_parent(parent: int) -> None:
    """On Linux, makes the kernel kill this process when Node exits, and before Node when memory runs out."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # Node exited before prctl
        _os_exit(0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError:
        pass


def prepare_for_forks(closeables: Iterable[Closeable]) -> None:
    """Closes the descriptors of the runner in forked children, so that they cannot send frames to Node."""

    def in_child() -> None:
        for closeable in closeables:
            closeable.close()

    os.register_at_fork(after_in_child=in_child)


def flush_before_exit(output: Output) -> None:
    """Makes os._exit flush the output of a job, except in forked children."""
    owner = _getpid()

    def _exit(status: int) -> NoReturn:
        if _getpid() == owner:
            output.flush()
        _os_exit(status)

    os._exit = _exit


class _StderrHandler(_StreamHandler):
    """Writes to the current sys.stderr."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        return sys.stderr


class ProcessState:
    """The state of the process that is restored after each job. Environment variables are not part of it."""

    _TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)

    def __init__(self, cwd: str, gate: CancelGate) -> None:
        self._cwd = os.path.realpath(cwd)
        self._owner = _getpid()
        self._umask = _umask(0o22)
        _umask(self._umask)
        self._recursion_limit = _getrecursionlimit()

        _set_signal(signal.SIGINT, gate.on_signal)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            _set_signal(number, _signal.SIG_DFL)
        self._signals = tuple(
            (int(number), _getsignal(number))
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGQUIT,
                signal.SIGALRM,
                signal.SIGVTALRM,
                signal.SIGPROF,
                signal.SIGCHLD,
                signal.SIGPIPE,
                signal.SIGUSR1,
                signal.SIGUSR2,
            )
        )

        self._root = logging.getLogger()
        self._log_handlers: list[logging.Handler] = [_StderrHandler()]
        self.reset_logging()
        for name in _QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO)

    def in_fork(self) -> bool:
        """Whether this is a forked child, whose code returned to the runner."""
        return _getpid() != self._owner

    # --- logging ----------------------------------------------------------------------------------------------

    def reset_logging(self) -> None:
        self.set_logging((self._log_handlers, logging.DEBUG, logging.NOTSET))

    def set_logging(self, setting: LoggingSetting) -> None:
        """Sets the root logger to a value of `logging_setting`."""
        handlers, level, disabled = setting
        root = self._root
        root.handlers[:] = handlers
        if (root.level, root.manager.disable) != (level, disabled):  # each setter visits all loggers
            root.setLevel(level)
            logging.disable(disabled)

    def logging_setting(self) -> LoggingSetting:
        root = self._root
        return list(root.handlers), root.level, root.manager.disable

    # --- repair -----------------------------------------------------------------------------------------------

    def repair(self) -> None:
        """Restores all state; fast if nothing was changed."""
        for number, handler in self._signals:
            if _getsignal(number) is not handler:
                _set_signal(number, handler)
        if _pthread_sigmask(_signal.SIG_BLOCK, ()):
            _pthread_sigmask(_signal.SIG_SETMASK, ())
        _set_wakeup_fd(-1)
        for timer in self._TIMERS:
            if _getitimer(timer)[0]:
                _setitimer(timer, 0)
        try:
            in_place = _getcwd() == self._cwd
        except OSError:  # removed
            in_place = False
        if not in_place:
            self._return_to_cwd()
        if _getrecursionlimit() != self._recursion_limit:
            _setrecursionlimit(self._recursion_limit)
        _umask(self._umask)
        if _gettrace() is not None:
            _settrace(None)
        if _getprofile() is not None:
            _setprofile(None)
        if not gc.isenabled():
            gc.enable()
        events: Any = sys.modules.get("asyncio.events")
        if events is not None:
            # A cancelled call can leave a loop marked as running in this thread, which prevents any other from running.
            events._set_running_loop(None)
            if sys.version_info < (3, 14):
                # After asyncio.run, get_event_loop would fail in the next job instead of creating a loop.
                events.set_event_loop_policy(None)

    def handle_interrupts(self, handler: Callable[[int, FrameType | None], None]) -> None:
        """Replaces the handler of SIGINT, by which Node stops code."""
        _set_signal(signal.SIGINT, handler)

    def repair_signals(self) -> None:
        """Restores only what cancels calls."""
        number, handler = self._signals[0]
        if _getsignal(number) is not handler:
            _set_signal(number, handler)
        if _pthread_sigmask(_signal.SIG_BLOCK, ()):
            _pthread_sigmask(_signal.SIG_SETMASK, ())
        events: Any = sys.modules.get("asyncio.events")
        if events is not None:
            # A cancelled call can leave a loop marked as running in this thread, which prevents any other from running.
            events._set_running_loop(None)

    def _return_to_cwd(self) -> None:
        try:
            _makedirs(self._cwd, exist_ok=True)
            _chdir(self._cwd)
        except OSError:
            pass  # the volume is gone: the next job fails if it needs a file


_enumerate_threads = threading.enumerate


def running_threads() -> list[threading.Thread]:
    """The running threads without the main thread."""
    return [thread for thread in _enumerate_threads() if thread is not threading.main_thread()]
