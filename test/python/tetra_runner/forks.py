"""Tests that run in a forked child, whose process they may change at will."""

import os
import traceback
from contextlib import contextmanager
from functools import partial, wraps

from coverage import Coverage

from tetra_runner import process

# The status of a child whose function returned.
RETURNED = 99


@contextmanager
def measured():
    """Measures the coverage of a child, if its parent's is measured, until the child resets its trace function."""
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
    """Runs a function in a forked child; returns the status that the child ended with."""
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
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(test):
    """Runs a test in a forked child."""

    @wraps(test)
    def run(*args, **kwargs):
        assert status_of(partial(test, *args, **kwargs)) == RETURNED

    return run
