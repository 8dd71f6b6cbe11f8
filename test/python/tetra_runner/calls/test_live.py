"""Calls of live resources of SDK 2.0, with a small package in place of `runpod`."""

import asyncio
import inspect
import json
import pickle
import sys
import weakref

import cloudpickle
import pytest

from tetra_runner import wire
from tetra_runner.sources import LIVE_NAME

# The handle of SDK 2.0, as far as the runner uses it.
RUNPOD = """
class Handle:
    def __init__(self, fn):
        self._fn, self._init_fn, self.__wrapped__ = fn, None, fn
    def init(self, fn):
        self._init_fn = fn
        return fn
    def __call__(self, *args):
        raise TypeError("is a handle")
class App:
    def __init__(self, name): pass
    def queue(self, **options): return Handle
"""

HEAD = "import runpod\napp = runpod.App('a')\n"


@pytest.fixture(autouse=True)
def _runpod(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "runpod.py").write_text(RUNPOD)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "runpod", raising=False)
    monkeypatch.delitem(sys.modules, LIVE_NAME, raising=False)
    yield
    sys.modules.pop("runpod", None)
    sys.modules.pop(LIVE_NAME, None)
    asyncio.set_event_loop(None)


@pytest.fixture
def live(worker, call_meta):
    """Calls a function of a module; returns the result, or the metadata of a failed call."""

    def live(code, name="f", args=(), **fields):
        blobs = [memoryview(json.dumps(value).encode()) for value in args]
        meta = call_meta(code=HEAD + code, name=name, format="json", args=len(args), **fields)
        meta, value = worker.call(wire.Frame(7, meta, blobs))
        return json.loads(b"".join(value)) if meta["ok"] else meta

    return live


def test_the_function_of_a_handle_is_called(live):
    assert live("@app.queue()\ndef f(a, b): return a + b", args=(2, 3)) == 5


def test_a_function_without_a_decorator_is_called(live):
    assert live("def f(): return 1") == 1


def test_main_blocks_do_not_run_and_the_module_has_the_name_of_the_runtime(live):
    code = """
ran = False
if __name__ == "__main__":
    ran = True
@app.queue()
def f(): return [ran, __name__, f._fn.__module__]
"""
    assert live(code) == [False, LIVE_NAME, LIVE_NAME]


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    import runpod\n    return __name__",
        "class A:\n    import runpod\ndef f(): return __name__",
        "text = 'import runpod'\ndef f(): return __name__",
        "import importlib as runpod\ndef f(): return __name__",
    ],
)
def test_sources_of_other_clients_keep_main(worker, call_meta, code):
    _, value = worker.call(wire.Frame(7, call_meta(code=code, format="json"), []))
    assert json.loads(b"".join(value)) == "__main__"


@pytest.mark.parametrize(
    "head",
    [
        "from runpod import App",
        "import runpod.apps as apps",
        "import os, runpod as r",
        "try:\n    import runpod\nexcept ImportError:\n    pass",
        "if True:\n    with open('/dev/null'):\n        from runpod.apps import App",
    ],
)
def test_any_import_of_runpod_in_a_module_makes_it_live(worker, call_meta, tmp_path, head):
    (tmp_path / "packages" / "runpod.py").unlink()
    package = tmp_path / "packages" / "runpod"
    package.mkdir()
    (package / "__init__.py").write_text("App = 1")
    (package / "apps.py").write_text("App = 1")
    _, value = worker.call(wire.Frame(7, call_meta(code=f"{head}\ndef f(): return __name__", format="json"), []))
    assert json.loads(b"".join(value)) == LIVE_NAME


def test_a_pickled_call_is_not_live(worker, call_meta):
    _, value = worker.call(wire.Frame(7, call_meta(code=HEAD + "def f(): return __name__"), []))
    assert pickle.loads(b"".join(value)) == "__main__"


COUNTER = """
n = 0
@app.queue()
def f():
    global n
    n += 1
    return n
@app.queue()
def g(): return n
"""


def test_the_module_stays_loaded_between_calls_of_all_its_functions(live):
    assert [live(COUNTER), live(COUNTER), live(COUNTER, name="g")] == [1, 2, 2]


def test_objects_of_a_replaced_module_are_freed(live, tmp_path, monkeypatch):
    # As in the real package, which keeps every app and every entry point.
    package = tmp_path / "packages" / "runpod"
    (package / "apps").mkdir(parents=True)
    (package / "__init__.py").write_text("from .apps.app import App\nfrom .apps.entrypoint import local_entrypoint")
    (package / "apps" / "__init__.py").write_text("")
    (package / "apps" / "app.py").write_text(
        "kept = []\nclass App:\n    def __init__(self, name): kept.append(self)\n"
        "    def queue(self, **options):\n        return lambda fn: setattr(self, fn.__name__, fn) or fn\n"
        "_clear_registry = kept.clear"
    )
    (package / "apps" / "entrypoint.py").write_text(
        "kept = []\nlocal_entrypoint = kept.append\n_clear_entrypoints = kept.clear"
    )
    (tmp_path / "packages" / "runpod.py").unlink()
    for name in ("runpod.apps", "runpod.apps.app", "runpod.apps.entrypoint"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    code = "class Model: pass\nmodel = Model()\n@app.queue()\ndef f(): return 1\n"
    assert live(code + "@runpod.local_entrypoint\ndef main(): model") == 1
    model = weakref.ref(sys.modules[LIVE_NAME].model)
    assert live(COUNTER) == 1
    assert model() is None
    # Also those of a module that failed.
    failed = live(code + "runpod.model = __import__('weakref').ref(model)\nraise OSError('late')")
    assert failed["error"]["message"] == "late"
    assert live(COUNTER) == 1
    assert sys.modules["runpod"].model() is None


def test_another_source_replaces_the_module(live):
    assert live(COUNTER) == 1
    assert live(COUNTER + "# edited") == 1
    assert live(COUNTER) == 1


HOOK = """
log = []
@app.queue()
def f(): return log
@f.init
def load(): log.append("init")
@app.queue()
def g(): return log
@g.init
async def load_g():
    import asyncio
    await asyncio.sleep(0)
    log.append("async init")
"""


def test_init_hooks_run_once_before_the_first_call_of_their_function(live):
    assert live(HOOK) == ["init"]
    assert live(HOOK) == ["init"]
    assert live(HOOK, name="g") == ["init", "async init"]
    assert live(HOOK, name="g") == ["init", "async init"]


def test_a_failed_init_hook_fails_the_call_and_runs_again(live):
    code = """
tries = 0
@app.queue()
def f(): return tries
@f.init
def load():
    global tries
    tries += 1
    if tries == 1: raise OSError("no model")
"""
    assert live(code)["error"]["message"] == "no model"
    assert live(code) == 2


def test_a_module_that_fails_is_executed_again_and_not_kept(live, tmp_path):
    code = f"""
import os
if not os.path.exists({str(tmp_path / "there")!r}):
    raise OSError("not yet")
def f(): return 1
"""
    assert live(code)["error"]["message"] == "not yet"
    assert LIVE_NAME not in sys.modules
    (tmp_path / "there").write_text("")
    assert live(code) == 1


def test_async_functions_and_hooks_share_one_event_loop(live):
    code = """
import asyncio
loops = []
@app.queue()
async def f():
    loops.append(asyncio.get_running_loop())
    return [len(loops), all(loop is loops[0] for loop in loops)]
@f.init
async def load(): loops.append(asyncio.get_running_loop())
"""
    assert [live(code), live(code)] == [[2, True], [3, True]]


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_generator_is_a_list_and_its_items_are_sent(live, channel, prefix):
    code = f"@app.queue()\n{prefix}def f(n):\n    for i in range(n): yield {{'i': i}}"
    assert live(code, args=(3,), chunkLimit=1000) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert [b"".join(call.args[3]) for call in channel.send.call_args_list] == [b'{"i": 0}', b'{"i": 1}', b'{"i": 2}']


def test_inspect_finds_the_source_of_the_module_for_nested_calls(live):
    code = "@app.queue()\ndef f():\n    import inspect\n    return inspect.getsource(inspect.getmodule(f._fn))"
    assert live(code) == HEAD + code


def test_classes_of_the_module_are_pickled_by_value(live):
    code = """
class Point:
    def __init__(self, x): self.x = x
def f():
    import cloudpickle
    return cloudpickle.dumps(Point(3)).hex()
"""
    pickled = bytes.fromhex(live(code))
    del sys.modules[LIVE_NAME]
    assert cloudpickle.loads(pickled).x == 3


def test_an_unknown_name_is_an_error_that_lists_functions_and_handles(live):
    code = "def plain(): pass\n@app.queue()\ndef decorated(): pass"
    message = live(code, name="f")["error"]["message"]
    assert message == "the module does not define a function named 'f'; it defines: plain, decorated"


def test_an_exception_of_the_module_has_no_module_in_its_name(live):
    assert live("class Bad(Exception): pass\ndef f(): raise Bad('x')")["error"]["type"] == "Bad"


def test_the_logging_setting_of_the_module_is_restored_for_each_call(live, state):
    state.logging_setting.side_effect = [("imported",), ("called",), ("called again",)]
    live(COUNTER)
    live(COUNTER)
    state.set_logging.assert_called_once_with(("called",))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1.0", "float 1.0"),
        ("-0.0", "float -0.0"),
        ("1152921504606846977", "int 1152921504606846977"),
        ("1e400", "float inf"),
        ('{"b": 1, "a": 2, "b": 3}', "dict {'b': 3, 'a': 2}"),
        ("[" * 100 + "]" * 100, f"list {'[' * 100 + ']' * 100}"),
        ('"\\ud83d\\ude00"', "str '\U0001f600'"),
    ],
)
def test_json_arguments_have_the_values_that_python_would_read(worker, call_meta, text, shown):
    code = HEAD + "def f(value): return f'{type(value).__name__} {value!r}'"
    frame = wire.Frame(7, call_meta(code=code, format="json", args=1), [memoryview(text.encode())])
    meta, value = worker.call(frame)
    assert meta["ok"], meta
    assert json.loads(b"".join(value)) == shown


def test_bytes_that_are_not_utf_8_are_replaced(worker, call_meta):
    frame = wire.Frame(7, call_meta(code="def f(x): return x", format="json", args=1), [memoryview(b'"\xff"')])
    assert json.loads(b"".join(worker.call(frame)[1])) == "\ufffd"


def test_the_source_of_a_handle_can_be_inspected_after_other_sources(live):
    live("def f(): return 1")
    live(COUNTER)
    assert inspect.getsource(sys.modules[LIVE_NAME].f._fn).startswith("@app.queue()\ndef f():")
