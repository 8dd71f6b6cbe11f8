"""Tests that change the process run in forked children."""

import _signal  # the functions of `signal` mistake an object that equals everything for a constant
import asyncio
import asyncio.events
import fcntl
import gc
import io
import itertools
import logging
import os
import resource
import select
import signal
import sys
import threading
from functools import partial
from unittest.mock import Mock

import pytest

from forks import RETURNED, in_child, status_of
from tetra_runner import process
from tetra_runner.calls.cancel import CancelGate, Cancelled
from tetra_runner.process import ProcessState

TIMEOUT_SECONDS = 20

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


class Equal:
    """Equals everything, as objects of a job can."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __call__(self, *_):
        return None


def distinct(number):
    """An equal integer that is a separate object, as results of system calls are."""
    return int(str(number))


# --- descriptors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "base"), [(1 << 63, 900), (1 << 20, 900), (1024, 900), (932, 900), (931, 899), (256, 224), (40, 16)]
)
def test_descriptors_of_the_runner_are_below_the_limit_of_the_process(monkeypatch, limit, base):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert process.high_descriptor_base() == base


def test_a_moved_descriptor_refers_to_the_same_file_and_has_close_on_exec():
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    moved = process.move_descriptor(writer, 200)
    try:
        assert moved >= 200
        assert os.fstat(moved).st_ino == os.fstat(reader).st_ino
        assert fcntl.fcntl(moved, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with pytest.raises(OSError):
            os.fstat(writer)
    finally:
        os.close(moved)
        os.close(reader)


# --- exit of the process ------------------------------------------------------------------------------------------


def test_exit_now_exits_even_if_a_job_has_replaced_os_exit():
    def end():
        os._exit = Mock()
        process.exit_now(7)

    assert status_of(end) == 7


@linux_only
def test_the_process_is_killed_when_its_parent_exits():
    reader, writer = os.pipe()

    def parent():
        child = os.fork()
        if child == 0:
            os.close(reader)
            process.die_with_parent(os.getppid())
            os.write(writer, b"ready")
            select.select([], [], [], TIMEOUT_SECONDS)
        else:
            os.read(reader, 5)

    assert status_of(parent) == RETURNED
    os.close(writer)
    ended, _, _ = select.select([reader], [], [], TIMEOUT_SECONDS / 2)
    assert ended, "it still runs without its parent"
    assert os.read(reader, 1) == b""
    os.close(reader)


@linux_only
@pytest.mark.parametrize(("offset", "status"), [(0, RETURNED), (-1, 0), (1, 0)])
def test_the_process_exits_immediately_if_its_parent_has_already_exited(offset, status):
    parent = distinct(os.getpid() + offset)
    assert status_of(partial(process.die_with_parent, parent)) == status


@linux_only
@in_child
def test_the_oom_score_of_the_process_is_raised():
    process.die_with_parent(os.getppid())
    with open("/proc/self/oom_score_adj") as file:
        assert file.read() == "800\n"


@linux_only
@in_child
def test_the_process_starts_even_if_its_oom_score_cannot_be_set(monkeypatch):
    monkeypatch.setattr("builtins.open", Mock(side_effect=PermissionError))
    process.die_with_parent(os.getppid())


@in_child
def test_prctl_is_called_only_on_linux(monkeypatch):
    libc = Mock()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", libc)
    process.die_with_parent(-1)
    libc.assert_not_called()


# --- forks -------------------------------------------------------------------------------------------------------


@in_child
def test_a_forked_child_closes_the_resources_of_the_runner_and_the_parent_keeps_them():
    closeables = [Mock(), Mock()]
    process.prepare_for_forks(closeables)

    def check(calls):
        assert [closeable.close.call_count for closeable in closeables] == calls

    assert status_of(partial(check, [1, 1])) == RETURNED
    check([0, 0])


@pytest.mark.parametrize(("current", "flushes"), [(70000, 1), (69999, 0), (70001, 0)])
def test_os_exit_flushes_the_output_except_in_a_forked_child(monkeypatch, current, flushes):
    output, ended = Mock(), Mock()
    pid = Mock(side_effect=lambda: distinct(70000))
    monkeypatch.setattr(os, "_exit", os._exit)
    monkeypatch.setattr(process, "_getpid", pid)
    monkeypatch.setattr(process, "_os_exit", ended)
    process.flush_before_exit(output)
    pid.side_effect = lambda: distinct(current)
    os._exit(5)
    assert output.flush.call_count == flushes
    ended.assert_called_with(5)


# --- state that is restored --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """The folder of jobs, next to two folders with similar paths."""
    cwd = str(tmp_path / "cwd")
    for path in (cwd, cwd + "-after", cwd[:-1]):
        os.mkdir(path)
    return cwd


@pytest.fixture
def gate():
    return CancelGate(lambda _: False)


@pytest.fixture
def make(folder, gate):
    """Creates a ProcessState in the folder of jobs."""

    def make():
        os.chdir(folder)
        return ProcessState(folder, gate)

    return make


def changed(*_):
    return None


def remove_folder(folder):
    os.chdir(folder + "-after")
    os.rmdir(folder + "-after")


def set_wakeup():
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)


def wakeup():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def block(*signals):
    return signal.pthread_sigmask(signal.SIG_BLOCK, signals)


def change_handler(number, handler, _):
    signal.signal(number, handler)


SIGNALS = ("INT", "TERM", "HUP", "QUIT", "ALRM", "VTALRM", "PROF", "CHLD", "PIPE", "USR1", "USR2")
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

# State that a job can change: its name, a function that changes it, and a function that reads it.
STATE = [
    ("working directory /", lambda _: os.chdir("/"), os.getcwd),
    ("working directory with a longer path", lambda folder: os.chdir(folder + "-after"), os.getcwd),
    ("working directory with a shorter path", lambda folder: os.chdir(folder[:-1]), os.getcwd),
    ("removed working directory", remove_folder, lambda: os.readlink("/proc/self/cwd")),
    ("umask", lambda _: os.umask(0o777), umask),
    ("lower recursion limit", lambda _: sys.setrecursionlimit(500), sys.getrecursionlimit),
    ("higher recursion limit", lambda _: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    *(
        (
            f"handler of {name} {handler}",
            partial(change_handler, getattr(signal, f"SIG{name}"), handler),
            partial(_signal.getsignal, getattr(signal, f"SIG{name}")),
        )
        for name, handler in itertools.product(SIGNALS, (changed, Equal()))
    ),
    ("signal mask", lambda _: block(signal.SIGINT, signal.SIGUSR1), block),
    *(
        (f"timer {timer}", lambda _, timer=timer: signal.setitimer(timer, 3600), partial(signal.getitimer, timer))
        for timer in TIMERS
    ),
    ("wakeup descriptor", lambda _: set_wakeup(), wakeup),
    *(
        fact
        for function in (changed, Equal())
        for fact in (
            ("trace function", lambda _, function=function: sys.settrace(function), sys.gettrace),
            ("profile function", lambda _, function=function: sys.setprofile(function), sys.getprofile),
        )
    ),
    ("garbage collector", lambda _: gc.disable(), gc.isenabled),
    (
        "mark of a running loop",
        lambda _: asyncio._set_running_loop(asyncio.new_event_loop()),
        lambda: asyncio._get_running_loop(),
    ),
]


@pytest.mark.parametrize(("change", "read"), [fact[1:] for fact in STATE], ids=[fact[0] for fact in STATE])
@in_child
def test_repair_restores_state_that_a_job_has_changed(make, folder, change, read):
    for setter in (sys.settrace, sys.setprofile):  # set by coverage
        setter(None)
    state = make()
    before = read()
    change(folder)
    assert read() is not before, "nothing was changed"
    state.repair()
    after = read()
    assert (type(after), after) == (type(before), before)


@in_child
def test_repair_sets_only_what_has_changed(make, monkeypatch):
    for setter in (sys.settrace, sys.setprofile):
        setter(None)
    state = make()
    state.repair()
    setters = ["_set_signal", "_setitimer", "_chdir", "_makedirs", "_setrecursionlimit", "_settrace", "_setprofile"]
    mock = Mock()
    for name in setters:
        monkeypatch.setattr(process, name, mock)
    monkeypatch.setattr(gc, "enable", mock)
    monkeypatch.setattr(logging.getLogger(), "setLevel", mock)
    state.repair()
    state.reset_logging()
    mock.assert_not_called()


@in_child
def test_repair_signals_restores_only_what_cancels_calls(make):
    state = make()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, changed)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    sys.setrecursionlimit(5000)
    os.chdir("/")
    asyncio._set_running_loop(asyncio.new_event_loop())
    state.repair_signals()
    assert signal.getsignal(signal.SIGINT).__name__ == "on_signal"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert asyncio._get_running_loop() is None
    assert (signal.getsignal(signal.SIGUSR1), sys.getrecursionlimit(), os.getcwd()) == (changed, 5000, "/")


@in_child
def test_repair_recreates_the_working_directory_if_a_job_has_removed_it(make, folder):
    state = make()
    os.rmdir(folder)
    state.repair()
    assert os.getcwd() == folder


@in_child
def test_repair_restores_other_state_if_the_working_directory_cannot_be_recreated(make, folder):
    state = make()
    limit = sys.getrecursionlimit()
    os.rmdir(folder)
    with open(folder, "w"):
        pass
    sys.setrecursionlimit(5000)
    state.repair()
    assert sys.getrecursionlimit() == limit


@in_child
def test_repair_works_in_a_process_that_has_never_used_asyncio(make):
    state = make()
    del sys.modules["asyncio.events"]
    state.repair()


@pytest.mark.parametrize(
    ("version", "resets"), [((3, 9, 0), 1), ((3, 13, 9), 1), ((3, 14, 0), 0), ((3, 15, 0), 0), ((4, 0, 0), 0)]
)
@in_child
def test_repair_resets_the_event_loop_policy_before_python_3_14(make, monkeypatch, version, resets):
    state = make()
    reset = Mock()
    monkeypatch.setattr(asyncio.events, "set_event_loop_policy", reset, raising=False)
    monkeypatch.setattr(sys, "version_info", version)
    state.repair()
    assert reset.call_count == resets


@in_child
def test_signals_have_their_default_handlers_and_sigint_cancels_jobs(make, gate):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, changed)
    make()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGINT)  # ignored because no job runs
    error = gate.run(partial(os.kill, os.getpid(), signal.SIGINT), lambda error: error)
    assert isinstance(error, Cancelled)


@in_child
def test_the_umask_is_not_changed_at_the_start(make):
    os.umask(0o27)
    make()
    assert umask() == 0o27


# --- logging -----------------------------------------------------------------------------------------------------


@in_child
def test_log_messages_are_written_to_the_current_sys_stderr(make, monkeypatch):
    make()
    for _ in range(2):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        logging.getLogger("job").debug("a detail")
        assert stderr.getvalue() == "a detail\n"


@in_child
def test_debug_messages_of_verbose_libraries_are_not_logged(make):
    make()
    assert not logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.INFO)


@in_child
def test_logging_settings_can_be_read_restored_and_reset(make):
    state = make()
    ours = state.logging_setting()
    root = logging.getLogger()
    handlers_of_jobs = ([], [logging.NullHandler()], [*root.handlers, logging.NullHandler()])
    levels = (logging.NOTSET, logging.DEBUG, logging.CRITICAL)
    for handlers, level, disabled in itertools.product(handlers_of_jobs, levels, (logging.NOTSET, logging.ERROR)):
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(disabled)
        found = state.logging_setting()
        assert found == (handlers, level, disabled)
        state.reset_logging()
        assert state.logging_setting() == ours
        state.set_logging(found)
        assert state.logging_setting() == found


# --- forks and threads of a job ----------------------------------------------------------------------------------


@in_child
def test_a_forked_child_is_distinguished_from_the_runner(make, monkeypatch):
    monkeypatch.setattr(process, "_getpid", partial(distinct, 70000))
    state = make()
    assert not state.in_fork()
    for child in (69999, 70001):
        monkeypatch.setattr(process, "_getpid", partial(distinct, child))
        assert state.in_fork()


def test_running_threads_are_listed_without_the_main_thread():
    class Job(Equal, threading.Thread):
        __hash__ = threading.Thread.__hash__

    assert process.running_threads() == []
    end = threading.Event()
    threads = [Job(target=end.wait) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        assert {id(thread) for thread in process.running_threads()} == {id(thread) for thread in threads}
    finally:
        end.set()
        for thread in threads:
            thread.join()
