import os
import pickle
import signal
import sys
import threading
import types
from unittest.mock import Mock

import pytest

from contract import problems
from tetra_runner import messages, process, wire


@pytest.fixture
def call(worker, frame):
    """Executes a call; returns the metadata and the value of the result."""

    def call(*values, worker=worker, **fields):
        meta, value = worker.call(frame(*values, **fields))
        assert list(problems(meta, messages.ResultMeta, "result")) == []
        assert (meta["value"] is None) is (not value)
        return meta, pickle.loads(b"".join(value)) if value else None

    return call


def test_a_function_gets_its_arguments_and_its_result_is_returned(call):
    source = "def add(a, b, c=0): return [a, b, c]"
    meta, value = call(1, 2, 3, name="add", code=source, args=2, kwargs=["c"])
    assert value == [1, 2, 3]
    assert meta == {
        "ok": True,
        "error": None,
        "instance": None,
        "instances": 0,
        "lives": False,
        "notes": [],
        "poisoned": None,
        "threads": [],
        "pending": 0,
        "output": False,
        "value": "cloudpickle",
    }


def test_an_exception_of_a_job_is_the_error_of_the_result(call):
    meta, _ = call(code="def f(): raise ValueError('no')")
    assert not meta["ok"]
    assert meta["error"]["kind"] == "exception"
    assert 'f.py", line 1, in f' in meta["error"]["traceback"]
    assert "tetra_runner" not in meta["error"]["traceback"]


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"code": "def"}, "request", "SyntaxError: "),
        ({"modules": {"../a.py": ""}}, "request", "the local module '../a.py' is invalid"),
        ({"name": "g"}, "request", "the source does not define a function named 'g'; it defines: f"),
        ({"code": "def f(): return [(i for i in ())]"}, "result", "the result, of type list, cannot be pickled: "),
        ({"code": "def f(): return 'x' * 100", "limit": 50}, "size", ""),
        ({"code": "def f(): raise SystemExit(2)"}, "exit", "the code called sys.exit(2)"),
    ],
    ids=[
        "invalid source",
        "an invalid module",
        "an unknown function",
        "a value without a pickle",
        "too large",
        "an exit",
    ],
)
def test_an_error_has_its_kind(call, fields, kind, message):
    meta, _ = call(**fields)
    assert meta["error"]["kind"] == kind
    assert meta["error"]["message"].startswith(message)


def test_an_argument_that_cannot_be_loaded_is_reported_with_its_kind_of_error(worker, call_meta):
    frame = wire.Frame(7, call_meta(args=1, format="json"), [memoryview(b"{")])
    meta, _ = worker.call(frame)
    assert meta["error"]["kind"] == "arguments"


def test_each_call_has_a_new_main_module_which_is_removed_afterwards(call):
    idle = sys.modules["__main__"]
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n"
    assert [call(code=source)[1] for _ in range(2)] == [1, 1]
    assert sys.modules["__main__"] is idle


def test_local_modules_are_importable_only_during_their_call(call):
    source = "def f():\n    import settings\n    return settings.SIZE"
    assert call(code=source, modules={"settings.py": "SIZE = 3"})[1] == 3
    assert call(code=source)[0]["error"]["type"] == "ModuleNotFoundError"


def test_import_caches_are_invalidated_after_an_install(call, monkeypatch):
    invalidate = Mock()
    monkeypatch.setattr("importlib.invalidate_caches", invalidate)
    call(refresh=False)
    invalidate.assert_not_called()
    call(refresh=True)
    invalidate.assert_called_once_with()


def test_the_result_contains_the_state_of_the_output(call, output):
    output.pending.return_value = 5
    output.replace_if_shared.return_value = True
    meta, _ = call()
    assert (meta["pending"], meta["output"]) == (5, True)
    output.restore.assert_called_once_with()


def test_repair_restores_the_state_of_the_process(worker, state):
    worker.repair()
    state.repair.assert_called_once_with()


def test_logging_is_reset_after_a_call(call, state):
    call()
    state.reset_logging.assert_called_once_with()


# --- notes and threads -------------------------------------------------------------------------------------------


def test_notes_about_local_modules_are_part_of_the_result(call):
    assert call(modules={"cloudpickle.py": ""})[0]["notes"] == [
        "The local module 'cloudpickle' hides the installed package with this name."
    ]


def test_notes_are_limited_in_number_and_length(worker, frame, monkeypatch):
    def get(_files, _in_use, notes):
        notes += [f"note {number}" for number in range(25)]
        notes[0] = "x" * 5000

    monkeypatch.setattr(worker._module_store, "get", get)
    notes = worker.call(frame())[0]["notes"]
    assert len(notes) == 21
    assert len(notes[0]) < 2000
    assert notes[-2:] == ["note 19", "5 more notes were left out."]


def test_threads_that_a_call_leaves_running_are_reported_once(call):
    end = threading.Event()
    source = """
import threading, sys
class Odd(threading.Thread):
    name = property(lambda self: 1 / 0, lambda self, _: None)
def f(end):
    threads = [threading.Thread(target=end.wait, name=f"thread {n}\\n") for n in range(21)]
    threads.append(Odd(target=end.wait))
    for thread in threads:
        thread.start()
"""
    holder = types.ModuleType("holder")
    holder.end = end
    sys.modules["holder"] = holder
    try:
        source += "def g():\n    import holder\n    return f(holder.end)\n"
        threads = call(name="g", code=source)[0]["threads"]
        assert threads[:2] == ["thread 0?", "thread 1?"]
        assert threads[-1] == "2 more"
        assert call()[0]["threads"] == []
    finally:
        del sys.modules["holder"]
        end.set()
        for thread in process.running_threads():
            thread.join()


# --- cancels, broken processes, forks -----------------------------------------------------------------------------


def provide_cancel_module(gate, monkeypatch):
    """Creates a module that a job can use to cancel itself."""
    monkeypatch.setitem(sys.modules, "cancel", types.SimpleNamespace(now=lambda: gate.on_signal(signal.SIGINT, None)))


def test_a_cancelled_call_has_an_error_of_the_kind_cancelled(call, gate, monkeypatch):
    provide_cancel_module(gate, monkeypatch)
    meta, _ = call(code="def f():\n    import cancel\n    cancel.now()")
    assert (meta["error"]["kind"], meta["error"]["type"]) == ("cancelled", "Cancelled")
    assert meta["poisoned"] is None


def test_a_cancel_that_interrupts_the_import_of_an_extension_module_poisons_the_process(call, gate, monkeypatch):
    provide_cancel_module(gate, monkeypatch)
    monkeypatch.setattr("tetra_runner.calls.worker.remove_partial_imports", lambda: "torch._C")
    meta, _ = call(code="def f():\n    import cancel\n    cancel.now()")
    assert meta["poisoned"] == "the cancel interrupted the import of torch._C, which cannot be imported again"


def test_an_error_that_breaks_cuda_poisons_the_process(call):
    meta, _ = call(code="def f(): raise RuntimeError('CUDA error: device-side assert triggered')")
    assert meta["poisoned"] == "CUDA error: device-side assert triggered"


def test_an_exception_whose_text_fails_is_still_reported(call):
    source = "class Odd(Exception):\n    def __str__(self): raise SystemExit\ndef f(): raise Odd"
    meta, _ = call(code=source)
    assert (meta["error"]["type"], meta["error"]["message"]) == ("Odd", "an error that cannot be shown")


def test_an_exception_whose_text_hangs_can_be_cancelled(call, gate, monkeypatch):
    provide_cancel_module(gate, monkeypatch)
    source = (
        "class Odd(Exception):\n    def __str__(self):\n        import cancel\n        cancel.now()\ndef f(): raise Odd"
    )
    assert call(code=source)[0]["error"]["kind"] == "cancelled"


class Exited(BaseException):
    pass


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def f(): return 1", 0),
        ("def f(): raise ValueError", 1),
        ("def f(): raise SystemExit", 0),
        ("def f(): raise SystemExit(3)", 3),
        ("def f(): raise SystemExit(256 + 7)", 7),
        ("def f(): raise SystemExit('why')", 1),
    ],
)
def test_a_forked_child_that_returns_from_the_job_exits_without_a_result(
    worker, frame, state, output, monkeypatch, source, status
):
    ended = Mock(side_effect=Exited)
    monkeypatch.setattr(process, "exit_now", ended)
    state.in_fork.return_value = True
    with pytest.raises(Exited):
        worker.call(frame(code=source))
    ended.assert_called_with(status)
    output.flush.assert_called()


def test_os_exit_of_a_job_flushes_the_output(make_worker, output, monkeypatch):
    ended = Mock()
    monkeypatch.setattr(process, "_os_exit", ended)
    make_worker()
    os._exit(3)
    output.flush.assert_called_once_with()
    ended.assert_called_once_with(3)


# --- generators --------------------------------------------------------------------------------------------------

GENERATOR = "def f():\n    yield 'a'\n    yield 'b' * 2000\n    yield 'c'"


def sent(channel):
    return [
        (kind, call_id, meta["value"], pickle.loads(b"".join(value)) if value else None)
        for (kind, call_id, meta, value), _ in channel.send.call_args_list
    ]


def test_items_of_a_generator_are_sent_immediately_if_the_client_wants_a_stream(call, channel):
    assert call(code=GENERATOR, chunkLimit=1000, call_id=9)[1] == ["a", "b" * 2000, "c"]
    assert sent(channel) == [
        (wire.CHUNK, 9, "cloudpickle", "a"),
        (wire.CHUNK, 9, None, None),
        (wire.CHUNK, 9, "cloudpickle", "c"),
    ]


def test_items_of_a_generator_are_not_sent_if_the_client_wants_no_stream(call, channel):
    assert call(code=GENERATOR)[1] == ["a", "b" * 2000, "c"]
    channel.send.assert_not_called()


def test_a_generator_is_stopped_when_its_items_together_exceed_the_limit(call):
    source = "steps = []\ndef f():\n    for n in range(100):\n        yield str(n) * 5000\n"
    meta, _ = call(code=source, limit=20_000)
    assert meta["error"]["kind"] == "size"
    assert meta["error"]["message"].startswith("at least ")


def test_a_cancel_is_postponed_until_an_item_is_sent_completely(call, channel, gate):
    states = []

    def send(*_):
        gate.on_signal(signal.SIGINT, None)
        states.append(gate.fired)

    channel.send.side_effect = send
    meta, _ = call(code=GENERATOR, chunkLimit=1000)
    assert states == [False]
    assert meta["error"]["kind"] == "cancelled"


def test_the_result_of_an_async_function_is_awaited(call):
    assert call(code="import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 5")[1] == 5


def test_the_installed_modules_that_a_call_imports_are_reported_once(call, worker, tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "tw_installed.py").write_text("")
    monkeypatch.setattr(worker._installed, "folders", (f"{folder}/",))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.syspath_prepend(str(folder))
    assert worker.imported() is None
    call(code="def f(): import tw_installed")
    assert worker.imported() == {
        "event": "used",
        "modules": ["tw_installed"],
        "folders": ["site-packages"],
        "value": None,
    }
    assert worker.imported() is None
    del sys.modules["tw_installed"]


def test_an_import_before_the_first_call_leaves_no_traces_in_the_state_of_the_process(worker, state, output):
    sys.modules["__main__"] = types.ModuleType("__main__")
    worker.after_import()
    state.repair.assert_called_once()
    state.reset_logging.assert_called_once()
    output.restore.assert_called_once()
    assert sys.modules["__main__"] is worker._idle_main


def test_a_child_that_an_import_forked_ends(worker, state, monkeypatch):
    state.in_fork.return_value = True
    monkeypatch.setattr(process, "exit_now", Mock(side_effect=SystemExit))
    with pytest.raises(SystemExit):
        worker.after_import()


def test_modules_are_imported_until_the_next_frame(worker, channel):
    with open(os.devnull) as file:
        channel.fileno.return_value = file.fileno()
        worker.import_while_idle(channel, {"modules": [], "seconds": 1.0, "memory": 0, "blobs": []})
    channel.send.assert_called_once_with(wire.IMPORTED, 0, {"event": "done", "value": None})
