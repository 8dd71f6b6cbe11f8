import signal
import sys
import traceback
from unittest.mock import Mock

import pytest

from tetra_runner.calls import cancel
from tetra_runner.calls.cancel import CancelGate, Cancelled


class Job:
    """A gate whose clock the test sets, and a job that gets signals."""

    def __init__(self):
        self.now = 0.125
        self.cancel_task = Mock(return_value=False)
        self.gate = CancelGate(self.cancel_task)

    def signal(self):
        self.gate.on_signal(signal.SIGINT, sys._getframe())

    def swallow(self):
        """Whether a signal raises, in code that swallows the exception."""
        try:
            self.signal()
        except Cancelled:
            return True
        return False

    def call(self, function):
        """How the gate lets the function end: its value, or its error."""
        return self.gate.run(function, lambda error: error)


@pytest.fixture
def job(monkeypatch):
    job = Job()
    monkeypatch.setattr(cancel, "_monotonic", lambda: job.now)
    return job


def test_a_job_that_is_not_cancelled_returns_its_value(job):
    assert job.call(lambda: 7) == 7
    assert not job.gate.fired


def test_an_error_of_a_job_is_handled_and_is_not_a_cancel(job):
    error = ValueError()
    assert job.call(Mock(side_effect=error)) is error
    assert not job.gate.fired


def test_a_signal_cancels_each_call_and_does_nothing_between_calls(job):
    assert not job.gate.fired
    assert not job.swallow()
    for _ in range(2):
        assert isinstance(job.call(job.signal), Cancelled)
        assert job.gate.fired
        assert not job.swallow()
    assert not job.call(lambda: job.gate.fired)
    assert not job.swallow()


def test_a_job_that_swallows_the_cancel_is_cancelled_again_after_half_a_second(job):
    def signals():
        for wait in (0, 0.5, 0.125, 0.5, 0.125):
            job.now += wait
            yield job.swallow()

    assert job.call(lambda: list(signals())) == [True, False, True, False, True]


def test_a_job_that_is_cancelled_softly_gets_an_exception_only_if_it_does_not_end(job):
    job.cancel_task.return_value = True

    def signals():
        for wait in (0, 0.4, 0.2):
            job.now += wait
            yield job.swallow()

    assert job.call(lambda: list(signals())) == [False, False, True]
    assert job.gate.fired
    job.cancel_task.assert_called_once()


def test_a_held_gate_postpones_the_cancel_until_it_is_released(job):
    seen = []

    def code():
        job.gate.block()
        seen.append(job.swallow())
        job.now += 10
        try:
            job.gate.unblock()
        except Cancelled:
            seen.append(job.gate.fired)
        job.gate.block()
        job.gate.unblock()  # the same cancel is not raised twice
        job.now += 0.5
        seen.append(job.swallow())
        job.now += 0.125
        job.signal()

    assert isinstance(job.call(code), Cancelled)
    assert seen == [False, True, False]
    job.cancel_task.assert_not_called()


def test_a_release_without_a_signal_does_nothing(job):
    job.gate.block()
    job.gate.unblock()
    assert not job.gate.fired


@pytest.mark.parametrize("end", ["an error", "a return"])
def test_a_job_that_ends_while_it_holds_the_gate_leaves_it_closed_and_released(job, end):
    def fail():
        job.gate.block()
        job.signal()
        raise ValueError

    job.call(fail if end == "an error" else job.gate.block)
    assert not job.swallow()
    assert job.call(job.gate.unblock) is None
    assert isinstance(job.call(job.signal), Cancelled)


def test_the_gate_is_closed_when_the_error_of_a_job_is_handled(job):
    # As when a signal arrives between the two.
    seen = []
    job.gate.run(Mock(side_effect=ValueError), lambda _: seen.append(job.swallow()))
    assert seen == [False]


def test_a_cancel_passes_handlers_of_errors_and_has_a_plain_name_in_tracebacks():
    assert issubclass(Cancelled, KeyboardInterrupt)
    assert traceback.format_exception_only(Cancelled, Cancelled("x"))[0].startswith("Cancelled: ")
