"""Tests that run in a forked child, whose process they may change at will."""

import os
import traceback
from functools import partial, wraps

from tetra_runner import process

# The status of a child whose function returned.
RETURNED = 99


def status_of(function):
    """Runs a function in a forked child; returns the status that the child ended with."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
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
