"""Unit tests of runner_process: what concerns the process itself is tried in forked children."""

import _signal  # the functions of `signal` take an object that equals everything for a constant
import asyncio
import fcntl
import gc
import io
import logging
import os
import select
import signal
import sys
import tempfile
import threading
import traceback
import unittest
from contextlib import ExitStack
from functools import partial, wraps
from unittest.mock import Mock, patch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "python"))

import runner_process
from runner_process import Cancelled, CancelGate, ProcessState

# The status of a child whose function came back, and the seconds after which a test fails that waits in vain.
CAME_BACK, PATIENCE = 99, 20

LINUX_ONLY = unittest.skipUnless(sys.platform.startswith("linux"), "asks the kernel of Linux")


def status_of(function):
    """Runs a function in a forked child; returns the status that the child ended with."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = CAME_BACK
        except BaseException:
            traceback.print_exc()
        finally:
            runner_process._os_exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(test):
    """Runs a test in a forked child, whose process it may change at will."""

    @wraps(test)
    def run(self):
        self.assertEqual(status_of(partial(test, self)), CAME_BACK)

    return run


class Equal:
    """Says that it equals everything, as objects of a job may."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __call__(self, *_):
        return None


def distinct(number):
    """The number as a separate object, as the answers of the kernel are."""
    return int(str(number))


class Descriptors(unittest.TestCase):
    def test_high_numbers_leave_room_below_the_limit_of_the_process(self):
        for limit, base in ((1 << 63, 900), (1 << 20, 900), (1024, 900), (932, 900), (931, 899), (256, 224), (40, 16)):
            with self.subTest(limit=limit), patch("resource.getrlimit", return_value=(limit, limit)):
                self.assertEqual(runner_process.high_descriptor_base(), base)

    def test_a_moved_descriptor_is_the_same_file_and_closed_in_programs(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_inheritable(writer, True)
        moved = runner_process.move_descriptor(writer, 200)
        self.addCleanup(os.close, moved)
        self.assertGreaterEqual(moved, 200)
        self.assertEqual(os.fstat(moved).st_ino, os.fstat(reader).st_ino)
        self.assertFalse(os.get_inheritable(moved))
        with self.assertRaises(OSError):
            os.fstat(writer)


class Ends(unittest.TestCase):
    def test_exit_now_ends_the_process_whatever_a_job_has_made_of_os_exit(self):
        def end():
            os._exit = Mock()
            runner_process.exit_now(7)

        self.assertEqual(status_of(end), 7)

    @LINUX_ONLY
    def test_the_process_ends_with_its_parent(self):
        reader, writer = os.pipe()

        def parent():
            child = os.fork()
            if child == 0:
                os.close(reader)
                runner_process.die_with_parent(os.getppid())
                os.write(writer, b"ready")
                select.select([], [], [], PATIENCE)
            else:
                os.read(reader, 5)

        self.assertEqual(status_of(parent), CAME_BACK)
        os.close(writer)
        ended, _, _ = select.select([reader], [], [], PATIENCE / 2)
        self.assertTrue(ended, "it lives on without its parent")
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)

    @LINUX_ONLY
    def test_the_process_ends_at_once_if_its_parent_is_gone_already(self):
        for parent, status in ((os.getpid(), CAME_BACK), (os.getpid() - 1, 0), (os.getpid() + 1, 0)):
            with self.subTest(parent=parent):
                self.assertEqual(status_of(partial(runner_process.die_with_parent, distinct(parent))), status)

    @LINUX_ONLY
    @in_child
    def test_the_kernel_prefers_the_process_when_memory_runs_out(self):
        runner_process.die_with_parent(os.getppid())
        with open("/proc/self/oom_score_adj") as file:
            self.assertEqual(file.read(), "800\n")

    @LINUX_ONLY
    @in_child
    def test_the_process_starts_where_the_kernel_cannot_be_told_what_to_prefer(self):
        with patch("builtins.open", side_effect=PermissionError):
            runner_process.die_with_parent(os.getppid())

    @in_child
    def test_nothing_is_asked_of_the_kernel_where_that_is_not_linux(self):
        with patch.object(sys, "platform", "darwin"), patch("ctypes.CDLL") as libc:
            runner_process.die_with_parent(-1)
        libc.assert_not_called()


class Forks(unittest.TestCase):
    @in_child
    def test_a_forked_child_closes_what_belongs_to_the_runner_and_the_runner_keeps_it(self):
        closeables = [Mock(), Mock()]
        runner_process.prepare_for_forks(closeables)
        closed = lambda: [closeable.close.call_count for closeable in closeables]
        self.assertEqual(status_of(lambda: self.assertEqual(closed(), [1, 1])), CAME_BACK)
        self.assertEqual(closed(), [0, 0])

    def test_os_exit_flushes_what_was_printed_except_in_a_forked_child(self):
        self.addCleanup(setattr, os, "_exit", os._exit)
        output, ended = Mock(), Mock()
        pid = Mock(side_effect=lambda: distinct(70000))
        with patch.multiple(runner_process, _getpid=pid, _os_exit=ended):
            runner_process.flush_before_exit(output)
            for current, flushes in ((70000, 1), (69999, 0), (70001, 0)):
                with self.subTest(current=current):
                    output.reset_mock()
                    pid.side_effect = partial(distinct, current)
                    os._exit(5)
                    self.assertEqual(output.flush.call_count, flushes)
                    ended.assert_called_with(5)


class Gate(unittest.TestCase):
    """A gate whose clock the test sets, and a job that gets signals."""

    def setUp(self):
        self.now = 0.125
        clock = patch.object(runner_process, "_monotonic", lambda: self.now)
        clock.start()
        self.addCleanup(clock.stop)
        self.cancel_softly = Mock(return_value=False)
        self.gate = CancelGate(self.cancel_softly)

    def signal(self):
        self.gate.on_signal(signal.SIGINT, sys._getframe())

    def swallow(self):
        """Whether a signal raises, in code that does not let that end it."""
        try:
            self.signal()
        except Cancelled:
            return True
        return False

    def call(self, function):
        """How the gate lets the function end: its value, or its error."""
        return self.gate.run(function, lambda error: error)

    def assert_is_closed(self):
        self.assertFalse(self.swallow())

    def test_a_job_that_is_not_cancelled_returns_its_value(self):
        self.assertEqual(self.call(lambda: 7), 7)
        self.assertFalse(self.gate.fired)

    def test_an_error_of_a_job_is_handled_and_is_no_cancel(self):
        error = ValueError()
        self.assertIs(self.call(Mock(side_effect=error)), error)
        self.assertFalse(self.gate.fired)

    def test_a_signal_cancels_each_call_and_does_nothing_between_calls(self):
        self.assertFalse(self.gate.fired)
        self.assert_is_closed()
        for _ in range(2):
            self.assertIsInstance(self.call(self.signal), Cancelled)
            self.assertTrue(self.gate.fired)
            self.assert_is_closed()
        self.assertFalse(self.call(lambda: self.gate.fired))
        self.assert_is_closed()

    def test_a_job_that_swallows_the_cancel_is_cancelled_again_after_half_a_second(self):
        def job():
            for wait in (0, 0.5, 0.125, 0.5, 0.125):
                self.now += wait
                yield self.swallow()

        self.assertEqual(self.call(lambda: list(job())), [True, False, True, False, True])

    def test_a_job_that_ends_softly_is_not_raised_into_unless_it_lingers(self):
        self.cancel_softly.return_value = True

        def job():
            for wait in (0, 0.4, 0.2):
                self.now += wait
                yield self.swallow()

        self.assertEqual(self.call(lambda: list(job())), [False, False, True])
        self.assertTrue(self.gate.fired)
        self.cancel_softly.assert_called_once()

    def test_a_held_gate_puts_the_cancel_off_until_it_is_released(self):
        seen = []

        def job():
            self.gate.hold()
            seen.append(self.swallow())
            self.now += 10
            try:
                self.gate.release()
            except Cancelled:
                seen.append(self.gate.fired)
            self.gate.hold()
            self.gate.release()  # the same cancel does not come twice
            self.now += 0.5
            seen.append(self.swallow())
            self.now += 0.125
            self.signal()

        self.assertIsInstance(self.call(job), Cancelled)
        self.assertEqual(seen, [False, True, False])
        self.cancel_softly.assert_not_called()

    def test_a_release_without_a_signal_does_nothing(self):
        self.gate.hold()
        self.gate.release()
        self.assertFalse(self.gate.fired)

    def test_a_job_that_ends_while_it_holds_the_gate_leaves_it_closed_and_released(self):
        def fail():
            self.gate.hold()
            self.signal()
            raise ValueError

        for ends in (fail, self.gate.hold):
            with self.subTest(ends=ends):
                self.call(ends)
                self.assert_is_closed()
                self.assertIsNone(self.call(self.gate.release))
                self.assertIsInstance(self.call(self.signal), Cancelled)

    def test_an_error_between_the_job_and_its_handler_leaves_the_gate_closed(self):
        # As when a signal hits the steps between the two.
        seen = []

        def handler(error):
            seen.append(self.swallow())

        self.gate.run(Mock(side_effect=ValueError), handler)
        self.assertEqual(seen, [False])

    def test_a_cancel_passes_handlers_of_errors_and_is_named_plainly(self):
        self.assertTrue(issubclass(Cancelled, KeyboardInterrupt))
        self.assertTrue(traceback.format_exception_only(Cancelled, Cancelled("x"))[0].startswith("Cancelled: "))


def changed(*_):
    return None


def removed_folder():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


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


def running_loop():
    return asyncio._get_running_loop()


SIGNALS = ("INT", "TERM", "HUP", "QUIT", "ALRM", "VTALRM", "PROF", "CHLD", "PIPE", "USR1", "USR2")
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def facts(cwd):
    """What a job can change: a name, code that changes it, and code that reads it."""
    for folder in ("/", cwd + "-after", cwd[:-1]):
        yield "working directory %s" % folder, partial(os.chdir, folder), os.getcwd
    yield "removed working directory", removed_folder, partial(os.readlink, "/proc/self/cwd")
    yield "umask", partial(os.umask, 0o777), umask
    for limit in (500, 5000):
        yield "recursion limit %d" % limit, partial(sys.setrecursionlimit, limit), sys.getrecursionlimit
    for name in SIGNALS:
        number = getattr(signal, "SIG" + name)
        for handler in (changed, Equal()):
            yield "handler of %s" % name, partial(signal.signal, number, handler), partial(_signal.getsignal, number)
    block = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    yield "signal mask", partial(block, {signal.SIGINT, signal.SIGUSR1}), partial(block, ())
    for timer in TIMERS:
        yield "timer %d" % timer, partial(signal.setitimer, timer, 3600), partial(signal.getitimer, timer)
    yield "wakeup descriptor", set_wakeup, wakeup
    for function in (changed, Equal()):
        yield "trace function", partial(sys.settrace, function), sys.gettrace
        yield "profile function", partial(sys.setprofile, function), sys.getprofile
    yield "garbage collector", gc.disable, gc.isenabled
    yield "mark of a running loop", lambda: asyncio._set_running_loop(asyncio.new_event_loop()), running_loop


class State(unittest.TestCase):
    """The state of a process in its own folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cwd = os.path.join(os.path.realpath(folder.name), "cwd")
        for path in (self.cwd, self.cwd + "-after", self.cwd[:-1]):
            os.mkdir(path)
        self.gate = CancelGate(lambda _: False)

    def make(self):
        os.chdir(self.cwd)
        return ProcessState(self.cwd, self.gate)

    def test_repair_puts_back_what_a_job_has_changed(self):
        def check(change, read):
            state = self.make()
            before = read()
            change()
            self.assertIsNot(read(), before, "nothing was changed")
            state.repair()
            after = read()
            self.assertEqual((type(after), after), (type(before), before))

        for name, change, read in facts(self.cwd):
            with self.subTest(name):
                self.assertEqual(status_of(partial(check, change, read)), CAME_BACK)

    @in_child
    def test_repair_sets_nothing_that_is_as_it_was(self):
        state = self.make()
        state.repair()
        setters = ("_set_signal", "_setitimer", "_chdir", "_makedirs", "_setrecursionlimit", "_settrace", "_setprofile")
        with ExitStack() as stack:
            patched = [stack.enter_context(patch.object(runner_process, name)) for name in setters]
            patched.append(stack.enter_context(patch.object(gc, "enable")))
            patched.append(stack.enter_context(patch.object(logging.getLogger(), "setLevel")))
            state.repair()
            state.reset_logging()
            for setter in patched:
                setter.assert_not_called()

    @in_child
    def test_repair_makes_the_working_directory_again_if_a_job_has_removed_it(self):
        state = self.make()
        os.rmdir(self.cwd)
        state.repair()
        self.assertEqual(os.getcwd(), self.cwd)

    @in_child
    def test_repair_puts_back_all_else_if_the_working_directory_is_gone_for_good(self):
        state = self.make()
        limit = sys.getrecursionlimit()
        os.rmdir(self.cwd)
        with open(self.cwd, "w"):
            pass
        sys.setrecursionlimit(5000)
        state.repair()
        self.assertEqual(sys.getrecursionlimit(), limit)

    @in_child
    def test_repair_works_in_a_process_that_has_never_used_asyncio(self):
        state = self.make()
        del sys.modules["asyncio.events"]
        state.repair()

    @in_child
    def test_repair_resets_the_event_loop_policy_where_it_keeps_a_mark_of_earlier_loops(self):
        state = self.make()
        for version, resets in (((3, 9, 0), 1), ((3, 13, 9), 1), ((3, 14, 0), 0), ((3, 15, 0), 0), ((4, 0, 0), 0)):
            with patch("asyncio.events.set_event_loop_policy", create=True) as reset, patch.object(sys, "version_info", version):
                state.repair()
                self.assertEqual(reset.call_count, resets, version)

    @in_child
    def test_signals_have_their_plain_meaning_and_ctrl_c_cancels(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, changed)
        self.make()
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_DFL)
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # no job runs
        error = self.gate.run(partial(os.kill, os.getpid(), signal.SIGINT), lambda error: error)
        self.assertIsInstance(error, Cancelled)

    @in_child
    def test_the_umask_is_not_changed_at_the_start(self):
        os.umask(0o27)
        self.make()
        self.assertEqual(umask(), 0o27)

    @in_child
    def test_log_messages_go_to_the_standard_error_of_the_moment(self):
        self.make()
        for _ in range(2):
            with patch.object(sys, "stderr", io.StringIO()) as stderr:
                logging.getLogger("job").debug("a detail")
                self.assertEqual(stderr.getvalue(), "a detail\n")

    @in_child
    def test_libraries_that_talk_much_are_not_logged_in_detail(self):
        self.make()
        self.assertFalse(logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.DEBUG))
        self.assertTrue(logging.getLogger("urllib3.connectionpool").isEnabledFor(logging.INFO))

    @in_child
    def test_logging_is_set_as_it_was_found_and_reset_for_the_next_job(self):
        state = self.make()
        ours = state.logging_setting()
        root = logging.getLogger()
        for handlers in ([], [logging.NullHandler()], [*root.handlers, logging.NullHandler()]):
            for level in (logging.NOTSET, logging.DEBUG, logging.CRITICAL):
                for disabled in (logging.NOTSET, logging.ERROR):
                    with self.subTest(level=level, disabled=disabled):
                        root.handlers[:] = handlers
                        root.setLevel(level)
                        logging.disable(disabled)
                        found = state.logging_setting()
                        self.assertEqual(found, (handlers, level, disabled))
                        state.reset_logging()
                        self.assertEqual(state.logging_setting(), ours)
                        state.set_logging(found)
                        self.assertEqual(state.logging_setting(), found)

    @in_child
    def test_a_forked_child_is_distinguished_from_the_runner(self):
        with patch.object(runner_process, "_getpid", partial(distinct, 70000)):
            state = self.make()
            self.assertFalse(state.in_fork())
        for child in (69999, 70001):
            with patch.object(runner_process, "_getpid", partial(distinct, child)):
                self.assertTrue(state.in_fork())


class Threads(unittest.TestCase):
    def test_threads_that_live_are_listed_without_the_main_one(self):
        class Job(Equal, threading.Thread):
            __hash__ = threading.Thread.__hash__

        self.assertEqual(runner_process.living_threads(), [])
        go_on = threading.Event()
        threads = [Job(target=go_on.wait) for _ in range(2)]
        try:
            for thread in threads:
                thread.start()
            self.assertCountEqual(map(id, runner_process.living_threads()), map(id, threads))
        finally:
            go_on.set()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    unittest.main()
