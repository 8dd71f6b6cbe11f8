"""The process around a call: start-up, cancelling by SIGINT, and the state that is put back after each call."""

import _signal  # the C functions: those of `signal` wrap every value in an enum, which costs 1 us each
import ctypes
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import threading
import time

# Bound now: jobs may replace functions of these modules.
_getpid, _getcwd, _chdir, _makedirs, _umask = os.getpid, os.getcwd, os.chdir, os.makedirs, os.umask
_getsignal, _set_signal = _signal.getsignal, _signal.signal
_pthread_sigmask, _set_wakeup_fd = _signal.pthread_sigmask, _signal.set_wakeup_fd
_getitimer, _setitimer = _signal.getitimer, _signal.setitimer
_getrecursionlimit, _setrecursionlimit = sys.getrecursionlimit, sys.setrecursionlimit
_gettrace, _settrace, _getprofile, _setprofile = sys.gettrace, sys.settrace, sys.getprofile, sys.setprofile
_monotonic = time.monotonic
_os_exit = os._exit

_PR_SET_PDEATHSIG = 1
_CONTROL_DESCRIPTORS_FROM = 900

# Libraries that fill a log at DEBUG with what nobody who debugs a job asked for.
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


def exit_now(status):
    """Ends the process with nothing of the interpreter's clean-up, whatever a job has made of os._exit."""
    _os_exit(status)


def high_descriptor_base():
    """Where the descriptors of the runner go: out of the reach of jobs that close all low numbers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(_CONTROL_DESCRIPTORS_FROM, soft - 32))


def move_descriptor(fd, lowest):
    """Moves a descriptor to a free number from `lowest` on, closed in programs that the process runs."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(fd)
    return moved


def die_with_parent(parent):
    """Lets the kernel kill this process when Node is gone, and prefer it to Node when memory runs out (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        _os_exit(0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("800")
    except OSError:
        pass


def prepare_for_forks(closeables):
    """Takes the descriptors of the runner away from forked children: they must not speak to Node."""

    def in_child():
        for closeable in closeables:
            closeable.close()

    os.register_at_fork(after_in_child=in_child)


def flush_before_exit(output):
    """Makes os._exit in a job lose nothing that was printed before. A forked child keeps the plain function."""
    owner = _getpid()

    def _exit(status):
        if _getpid() == owner:
            output.flush()
        _os_exit(status)

    os._exit = _exit


class Cancelled(KeyboardInterrupt):
    """Raised in the code of a job when Node cancels the call.

    A KeyboardInterrupt, as libraries let that one through and asyncio leaves its loop on it.
    """

    __module__ = "builtins"  # so that tracebacks name it without a module that means nothing to the caller


class CancelGate:
    """Turns SIGINT into Cancelled, but only while code of a job runs."""

    # Code can swallow the exception, so a later signal raises again. Not at once: the second one must not hit the
    # few steps between the first one and the end of the call.
    _AGAIN_AFTER = 0.5

    def __init__(self, cancel_softly):
        """`cancel_softly(frame)` may end the code at that frame without an exception; it tells whether it did."""
        self.fired = False
        self._cancel_softly = cancel_softly
        self._armed = False
        self._held = False
        self._pending = False
        self._last = 0.0

    def on_signal(self, _signum, frame):
        if self._held:
            self._pending = True
        elif self._armed and (not self.fired or _monotonic() - self._last > self._AGAIN_AFTER):
            first = not self.fired
            self.fired = True
            self._last = _monotonic()
            if first and self._cancel_softly(frame):
                return
            raise Cancelled("the call was cancelled")

    def run(self, function, on_error):
        """Calls function() with the gate open; what it raises goes to on_error(exception), whose value is returned.

        Cancelled can appear between any two steps here. Two of them are far apart in time, so that of the two nested
        handlers the outer one always reaches its end.
        """
        self.fired = self._pending = False
        try:
            try:
                self._armed = True
                return function()
            finally:
                self._armed = self._held = False
        except BaseException as error:
            self._armed = self._held = False
            return on_error(error)

    def hold(self):
        """Puts a cancel off until `release`: a frame must not be cut in the middle."""
        self._held = True

    def release(self):
        self._held = False
        if self._pending:
            self._pending = False
            self.fired = True
            self._last = _monotonic()
            raise Cancelled("the call was cancelled")


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever sys.stderr is at the time of the message."""

    def __init__(self):
        logging.Handler.__init__(self)

    @property
    def stream(self):
        return sys.stderr


class ProcessState:
    """What a job can change in the process and the next job must not inherit. The environment is not part of it."""

    _TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)

    def __init__(self, cwd, gate):
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
        self._log_handlers = [_StderrHandler()]
        self.reset_logging()
        for name in _QUIET_LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO)

    def in_fork(self):
        """Whether this is a forked child whose code has come back into the runner."""
        return _getpid() != self._owner

    # --- logging ----------------------------------------------------------------------------------------------

    def reset_logging(self):
        self.set_logging((self._log_handlers, logging.DEBUG, logging.NOTSET))

    def set_logging(self, setting):
        """Puts the root logger into a state that `logging_setting` told, or into ours."""
        handlers, level, disabled = setting
        root = self._root
        root.handlers[:] = handlers
        if (root.level, root.manager.disable) != (level, disabled):  # each setter walks over all loggers
            root.setLevel(level)
            logging.disable(disabled)

    def logging_setting(self):
        root = self._root
        return list(root.handlers), root.level, root.manager.disable

    # --- repair -----------------------------------------------------------------------------------------------

    def repair(self):
        """Puts everything back; cheap when nothing was changed."""
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
        except OSError:  # removed under us
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
        events = sys.modules.get("asyncio.events")
        if events is not None:
            # A cancelled call can leave the thread marked as inside of a loop: no other could be run in it.
            events._set_running_loop(None)
            if sys.version_info < (3, 14):
                # After one asyncio.run, get_event_loop makes no loop any more: a job must not feel the one before.
                events.set_event_loop_policy(None)

    def _return_to_cwd(self):
        try:
            _makedirs(self._cwd, exist_ok=True)
            _chdir(self._cwd)
        except OSError:
            pass  # the volume is gone: the next job says so itself when it needs a file


_enumerate_threads = threading.enumerate


def living_threads():
    """The threads that are alive now, without the main one."""
    return [thread for thread in _enumerate_threads() if thread is not threading.main_thread()]
