import pickle

import pytest

from tetra_runner.wire import Frame


@pytest.fixture
def call_meta():
    """The metadata of a call of a function `f` without arguments; keywords replace its fields."""

    def call_meta(**fields):
        return {
            "kind": "function",
            "name": "f",
            "code": "def f(): return 1",
            "format": "cloudpickle",
            "args": 0,
            "kwargs": [],
            "constructorArgs": 0,
            "constructorKwargs": [],
            "method": "",
            "instanceId": None,
            "createNewInstance": False,
            "modules": {},
            "limit": 1 << 20,
            "refresh": False,
            "blobs": [],
            **fields,
        }

    return call_meta


@pytest.fixture
def frame(call_meta):
    """A CALL frame, with Python values as its blobs."""

    def frame(*values, call_id=7, **fields):
        blobs = [memoryview(pickle.dumps(value)) for value in values]
        return Frame(call_id, call_meta(**fields), blobs)

    return frame
