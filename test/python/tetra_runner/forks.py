"""Runs tests in a forked child process, which they may change."""

import faulthandler
import os
import signal
import threading
import traceback
from contextlib import contextmanager
from functools import partial, wraps

from coverage import Coverage

from tetra_runner import process

# The exit status of a child whose function returned.
RETURNED = 99

# The time after which a child is killed.
TIMEOUT_SECONDS = 40


@contextmanager
def measured():
    """Measures the coverage of a child if coverage is enabled, until the child resets its trace function."""
    parent = Coverage.current()
    if parent is None:
        yield
        return
    parent.stop()
    child = Coverage(config_file=parent.config.config_file, data_suffix=True)
    child.start()
    try:
        yield
    finally:
        child.stop()
        child.save()


def status_of(function):
    """Runs a function in a forked child; returns the exit status of the child, or -SIGABRT if it has timed out."""
    # The timer of pytest's faulthandler_timeout: its thread does not exist in a child, and cancelling it there, as
    # Output.restore does, would wait for that thread forever.
    faulthandler.cancel_dump_traceback_later()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with measured():
                function()
            status = RETURNED
        except BaseException:
            traceback.print_exc()
        finally:
            process._os_exit(status)
    timer = threading.Timer(
        TIMEOUT_SECONDS, os.kill, (pid, signal.SIGABRT)
    )  # faulthandler prints the child's traceback
    timer.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        timer.cancel()
        timer.join()


def in_child(test):
    """Runs a test in a forked child."""

    @wraps(test)
    def run(*args, **kwargs):
        assert status_of(partial(test, *args, **kwargs)) == RETURNED

    return run
