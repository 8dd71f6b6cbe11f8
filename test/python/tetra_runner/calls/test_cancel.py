import signal
import sys
import traceback
from unittest.mock import Mock

import pytest

from tetra_runner.calls import cancel
from tetra_runner.calls.cancel import CancelGate, Cancelled


class Job:
    """A gate with a clock that the test sets, and methods for its job."""

    def __init__(self):
        self.now = 0.125
        self.cancel_task = Mock(return_value=False)
        self.gate = CancelGate(self.cancel_task)

    def signal(self):
        self.gate.on_signal(signal.SIGINT, sys._getframe())

    def is_raised(self):
        """Whether a signal raises an exception, which is caught."""
        try:
            self.signal()
        except Cancelled:
            return True
        return False

    def call(self, function):
        """Runs a function; returns its value or its error."""
        return self.gate.run(function, lambda error: error)


@pytest.fixture
def job(monkeypatch):
    job = Job()
    monkeypatch.setattr(cancel, "_monotonic", lambda: job.now)
    return job


def test_a_job_that_is_not_cancelled_returns_its_value(job):
    assert job.call(lambda: 7) == 7
    assert not job.gate.fired


def test_an_error_of_a_job_is_passed_to_its_handler_and_is_not_a_cancel(job):
    error = ValueError()
    assert job.call(Mock(side_effect=error)) is error
    assert not job.gate.fired


def test_a_signal_cancels_the_running_call_and_is_ignored_between_calls(job):
    assert not job.gate.fired
    assert not job.is_raised()
    for _ in range(2):
        assert isinstance(job.call(job.signal), Cancelled)
        assert job.gate.fired
        assert not job.is_raised()
    assert not job.call(lambda: job.gate.fired)
    assert not job.is_raised()


def test_a_job_that_catches_the_cancel_is_cancelled_again_by_a_signal_after_half_a_second(job):
    def signals():
        for wait in (0, 0.5, 0.125, 0.5, 0.125):
            job.now += wait
            yield job.is_raised()

    assert job.call(lambda: list(signals())) == [True, False, True, False, True]


def test_a_job_whose_task_was_cancelled_gets_an_exception_only_from_a_later_signal(job):
    job.cancel_task.return_value = True

    def signals():
        for wait in (0, 0.4, 0.2):
            job.now += wait
            yield job.is_raised()

    assert job.call(lambda: list(signals())) == [False, False, True]
    assert job.gate.fired
    job.cancel_task.assert_called_once()


def test_a_blocked_gate_postpones_the_cancel_until_it_is_unblocked(job):
    seen = []

    def code():
        job.gate.block()
        seen.append(job.is_raised())
        job.now += 10
        try:
            job.gate.unblock()
        except Cancelled:
            seen.append(job.gate.fired)
        job.gate.block()
        job.gate.unblock()  # does not raise the same cancel again
        job.now += 0.5
        seen.append(job.is_raised())
        job.now += 0.125
        job.signal()

    assert isinstance(job.call(code), Cancelled)
    assert seen == [False, True, False]
    job.cancel_task.assert_not_called()


def test_unblocking_without_a_signal_does_nothing(job):
    job.gate.block()
    job.gate.unblock()
    assert not job.gate.fired


@pytest.mark.parametrize("end", ["an error", "a return"])
def test_the_gate_is_closed_and_unblocked_after_a_job_that_ends_while_it_is_blocked(job, end):
    def fail():
        job.gate.block()
        job.signal()
        raise ValueError

    job.call(fail if end == "an error" else job.gate.block)
    assert not job.is_raised()
    assert job.call(job.gate.unblock) is None
    assert isinstance(job.call(job.signal), Cancelled)


def test_the_gate_is_closed_while_the_error_of_a_job_is_handled(job):
    # A signal can arrive between the job and the handler.
    seen = []
    job.gate.run(Mock(side_effect=ValueError), lambda _: seen.append(job.is_raised()))
    assert seen == [False]


def test_a_cancel_is_not_caught_by_except_exception_and_has_no_module_in_tracebacks():
    assert issubclass(Cancelled, KeyboardInterrupt)
    assert traceback.format_exception_only(Cancelled, Cancelled("x"))[0].startswith("Cancelled: ")
