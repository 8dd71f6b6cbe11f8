import os
import sys
from unittest.mock import Mock

import pytest

import golden
from tetra_runner.calls import worker as worker_module
from tetra_runner.calls.cancel import CancelGate
from tetra_runner.calls.worker import Worker

HANDLERS = ([], 10, 0)


@pytest.fixture
def output():
    output = Mock()
    output.pending.return_value = 0
    output.replace_if_shared.return_value = False
    return output


@pytest.fixture
def channel():
    return Mock()


@pytest.fixture
def state():
    state = Mock()
    state.in_fork.return_value = False
    state.logging_setting.return_value = HANDLERS
    return state


@pytest.fixture
def gate():
    return CancelGate(lambda _: False)


@pytest.fixture
def make_worker(tmp_path, monkeypatch, output, channel, state, gate):
    """Creates a worker that does not change the process of the test."""
    monkeypatch.setattr(os, "_exit", os._exit)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def make_worker(**config):
        config = {
            **golden.LIVE_CONFIG,
            "dir": str(tmp_path),
            "cwd": str(tmp_path / "cwd"),
            "instanceIdle": 0,
            **config,
        }
        return worker_module.Worker(config, channel, output, gate, state, frozenset())

    return make_worker


@pytest.fixture
def worker(make_worker) -> Worker:
    return make_worker()
