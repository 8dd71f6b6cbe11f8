import asyncio
import gc
import pickle
import sys
import types
import weakref

import pytest

from tetra_runner.calls import instances as instances_module

COUNTER = """
class Counter:
    def __init__(self, start=0):
        self.n = start
    def count(self, step=1):
        self.n += step
        return self.n
    def _private(self): pass
    def __call__(self): return "called"
    text = "not a method"
    @property
    def broken(self):
        return self.missing
"""


@pytest.fixture
def call(make_worker, frame):
    """Calls a method of a Counter; returns the metadata and the value of the result."""
    workers = {}

    def call(*values, config=(), **fields):
        worker = workers.get(config) or workers.setdefault(config, make_worker(**dict(config)))
        fields = {"kind": "class", "name": "Counter", "code": COUNTER, "method": "count", **fields}
        meta, value = worker.call(frame(*values, **fields))
        return meta, pickle.loads(b"".join(value)) if value else None

    yield call
    asyncio.set_event_loop(None)


def test_a_new_instance_gets_an_id_with_the_name_of_its_class(call):
    meta, value = call(5, 2, args=1, constructorArgs=1)
    assert value == 7
    assert meta["instance"]["id"].startswith("Counter_")
    assert meta["instance"]["class_name"] == "Counter"
    assert meta["instance"]["method_calls"] == 1
    assert meta["instances"] == 1
    assert meta["notes"] == []


def test_arguments_of_the_method_come_before_those_of_the_constructor(call):
    assert call(10, 1, args=1, constructorKwargs=["start"])[1] == 11
    assert call(1, 10, kwargs=["step"], constructorArgs=1)[1] == 11


def test_an_instance_with_an_id_keeps_its_state_between_calls(call):
    assert [call(instanceId="a")[1] for _ in range(3)] == [1, 2, 3]
    meta, _ = call(instanceId="a")
    assert (meta["instance"]["method_calls"], meta["instances"], meta["lives"]) == (4, 1, True)
    assert meta["instance"]["created_at"] < meta["instance"]["last_used"]
    assert call(instanceId="b")[1] == 1


def test_a_call_can_request_a_new_instance(call):
    call(instanceId="a")
    meta, value = call(instanceId="a", createNewInstance=True)
    assert (value, meta["notes"], meta["instances"]) == (1, [], 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": COUNTER + "# changed"},
        {"modules": {"settings.py": ""}},
        {"constructorArgs": 1},
        {"constructorKwargs": ["start"]},
    ],
    ids=["code", "modules", "arguments", "keyword arguments"],
)
def test_an_instance_is_recreated_if_its_code_modules_or_constructor_arguments_have_changed(call, changes):
    call(instanceId="a")
    values = [0] if "constructorArgs" in changes or "constructorKwargs" in changes else []
    meta, value = call(*values, instanceId="a", **changes)
    assert value == 1
    assert "Instance a was recreated" in meta["notes"][0]
    assert call(*values, instanceId="a", **changes)[1] == 2


def test_a_call_without_a_method_calls_the_object(call):
    assert call(method="")[1] == "called"


def test_the_error_about_a_missing_method_lists_the_existing_methods(call):
    meta, _ = call(instanceId="a", method="missing")
    assert meta["error"]["message"] == "the class Counter has no method named 'missing'; it has: __call__, count"
    assert meta["lives"]
    assert "no method named 'text'" in call(method="text")[0]["error"]["message"]


def test_an_attribute_error_inside_a_property_is_reported(call):
    meta, _ = call(method="broken")
    assert meta["error"]["type"] == "AttributeError"
    assert "missing" in meta["error"]["message"]


def test_a_name_that_is_not_a_class_is_rejected(call):
    meta, _ = call(name="Missing")
    assert meta["error"]["message"] == "the source does not define a class named 'Missing'; it defines: Counter"


def test_arguments_that_cannot_be_loaded_do_not_remove_an_instance(make_worker, call_meta):
    from tetra_runner.wire import Frame

    worker = make_worker(maxInstances=1)
    fields = {"kind": "class", "name": "Counter", "code": COUNTER, "method": "count"}
    worker.call(Frame(7, call_meta(**fields, instanceId="a"), []))
    meta, _ = worker.call(Frame(7, call_meta(**fields, instanceId="b", args=1), [memoryview(b"x")]))
    assert meta["error"]["kind"] == "arguments"
    assert worker.call(Frame(7, call_meta(**fields, instanceId="a"), []))[0]["instance"]["method_calls"] == 2


def test_no_instance_is_kept_if_its_constructor_fails(call):
    source = "import asyncio\nclass Counter:\n    def __init__(self): raise ValueError('no')"
    meta, _ = call(code=source, instanceId="a")
    assert (meta["error"]["message"], meta["instance"], meta["instances"]) == ("no", None, 0)


# --- removal of instances ----------------------------------------------------------------------------------------


def test_the_least_recently_used_instance_is_removed_above_the_limit(call):
    config = (("maxInstances", 2),)
    for name in ("a", "b", "a", "c"):
        call(instanceId=name, config=config)
    assert call(instanceId="a", config=config)[1] == 3
    meta, value = call(instanceId="b", config=config)
    assert value == 1
    assert meta["notes"] == ["Instance b was recreated: it was removed because there were more than 2 instances."]
    assert meta["instances"] == 2


def test_an_instance_is_removed_after_its_idle_timeout(call, monkeypatch):
    config = (("instanceIdle", 60),)
    now = [1000.0]
    monkeypatch.setattr(instances_module, "_monotonic", lambda: now[0])
    call(instanceId="a", config=config)
    now[0] += 60
    assert call(instanceId="a", config=config)[1] == 2
    now[0] += 61
    meta, value = call(instanceId="a", config=config)
    assert value == 1
    assert meta["notes"] == ["Instance a was recreated: it was removed after 60 seconds without a call."]


def test_calls_of_functions_remove_idle_instances_too(make_worker, frame, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(instances_module, "_monotonic", lambda: now[0])
    worker = make_worker(instanceIdle=60)
    worker.call(frame(kind="class", name="Counter", code=COUNTER, method="count"))
    now[0] += 61
    assert worker.call(frame())[0]["instances"] == 0


def test_the_number_of_remembered_removals_is_limited(call, monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda: 0)  # because it is slow in a process with pytest
    config = (("maxInstances", 1),)
    for number in range(260):
        call(instanceId=str(number), config=config)
    assert call(instanceId="0", config=config)[0]["notes"] == []
    assert len(call(instanceId="100", config=config)[0]["notes"]) == 1
    assert call(instanceId="200", createNewInstance=True, config=config)[0]["notes"] == []


def test_the_memory_of_an_instance_is_freed_before_the_next_one_is_created(call, monkeypatch):
    probe = types.ModuleType("probe")
    probe.alive = []
    monkeypatch.setitem(sys.modules, "probe", probe)
    probe.track = lambda thing: probe.alive.append(weakref.ref(thing))
    probe.count = lambda: sum(ref() is not None for ref in probe.alive)
    source = """
import probe
class Model: pass
class Counter:
    def __init__(self):
        self.before = probe.count()
        self.model = Model()
        self.model.cycle = self.model
        probe.track(self.model)
    def count(self):
        return self.before
"""
    gc.disable()
    try:
        call(code=source, instanceId="a")
        assert call(code=source, instanceId="a", createNewInstance=True)[1] == 0
    finally:
        gc.enable()


# --- state of an instance ----------------------------------------------------------------------------------------


def test_an_instance_keeps_its_logging_setting_and_its_main_module(call, state):
    method = "    def main(self):\n        import sys\n        return sys.modules['__main__'].Counter is type(self)\n"
    source = COUNTER + method
    call(instanceId="a", code=source)
    state.set_logging.assert_not_called()
    assert call(instanceId="a", code=source, method="main")[1]
    state.set_logging.assert_called_once_with(state.logging_setting.return_value)


ASYNC = """
import asyncio
class Counter:
    def __init__(self):
        self.event = asyncio.Event()
    async def set(self):
        self.event.set()
    async def wait(self):
        await asyncio.wait_for(self.event.wait(), 5)
        return asyncio.get_running_loop() is asyncio.get_event_loop()
"""


def test_objects_bound_to_the_loop_of_an_instance_work_in_its_next_call(call):
    call(instanceId="a", code=ASYNC, method="set")
    assert call(instanceId="a", code=ASYNC, method="wait")[1]


def test_an_instance_without_a_loop_gets_one_for_its_first_awaitable(call, monkeypatch):
    monkeypatch.setattr("tetra_runner.aio.loop_if_wanted", lambda: None)
    source = "class Counter:\n    async def count(self): return 3"
    assert call(code=source)[1] == 3


# --- CUDA --------------------------------------------------------------------------------------------------------


def test_a_constructor_that_runs_out_of_cuda_memory_is_retried_after_removing_other_instances(call, monkeypatch):
    emptied = []
    cuda = types.SimpleNamespace(empty_cache=lambda: emptied.append(True))
    probe = types.SimpleNamespace(fail=True)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "probe", probe)
    source = """
import probe
class Counter:
    def __init__(self):
        if probe.fail:
            probe.fail = False
            raise RuntimeError("CUDA out of memory")
    def count(self): return "built"
"""
    call(instanceId="a")
    meta, value = call(instanceId="b", code=source)
    assert value == "built"
    assert emptied == [True]
    assert meta["instances"] == 1
    assert meta["notes"] == [
        "CUDA ran out of memory in the constructor of Counter: removed the other instances (1) and retried."
    ]
