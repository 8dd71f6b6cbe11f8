import sys
import types

import pytest

from tetra_runner.apps.app import JobValue, StartError

# Objects with the attributes of those of the `runpod` package that the runner uses.
CLIENT = """
    from types import SimpleNamespace

    class FunctionHandle:
        def __init__(self, fn, name):
            self._fn, self._init_fn = fn, None
            self.spec = SimpleNamespace(name=name, kind="queue")
        def init(self, fn):
            self._init_fn = fn
            return fn
        def __call__(self):
            raise TypeError

    def queue(name):
        return lambda fn: FunctionHandle(fn, name)
"""


def test_the_function_of_a_handle_gets_the_input_as_keyword_arguments(write, deployed, outcomes):
    write(client=CLIENT, main="from client import queue\n@queue('res')\ndef f(a=1): return a")
    values, _ = outcomes(deployed("sdk", "main:f"), {"a": 2}, None, {"__empty": True})
    assert values == [JobValue(2, None, False), JobValue(1, None, False), JobValue(1, None, False)]


def test_an_input_that_is_not_an_object_raises(write, deployed):
    write(client=CLIENT, main="from client import queue\n@queue('res')\ndef f(): ...")
    app = deployed("sdk", "main:f")
    app.open()
    with pytest.raises(TypeError, match="Malformed input: expected dict, got list"):
        app.run([], lambda _: None)


def test_an_async_init_hook_runs_once_in_the_loop_of_the_jobs(write, deployed, outcomes):
    write(
        client=CLIENT,
        main="""
        import asyncio
        from client import queue
        loops = []
        @queue("res")
        async def f():
            loops.append(asyncio.get_running_loop())
            return [len(loops), len(set(loops))]
        @f.init
        async def load():
            loops.append(asyncio.get_running_loop())
        """,
    )
    app = deployed("sdk", "main:f")
    values, _ = outcomes(app, None, None)
    assert [value.value for value in values] == [[2, 1], [3, 1]]
    app.open()
    assert len(sys.modules["main"].loops) == 3
    assert app.open() == {"overlaps": True, "isSingleton": False, "systemDependencies": []}


def test_a_failed_init_hook_is_a_start_error_of_the_construction(write, deployed):
    write(
        client=CLIENT,
        main="""
        from client import queue
        @queue("res")
        def f(): ...
        @f.init
        def load(): import nowhere
        """,
    )
    with pytest.raises(StartError) as caught:
        deployed("sdk", "main:f").open()
    assert (caught.value.phase, caught.value.missing) == ("construct", "nowhere")


def test_the_handle_is_found_by_the_name_of_its_resource(write, deployed, outcomes):
    write(
        client=CLIENT,
        main="""
        from client import queue
        class Odd:
            def __getattr__(self, name): raise ValueError
        odd = Odd()
        spec = __spec__
        other = queue("other")(lambda: 2)
        renamed = queue("res")(lambda: 1)
        """,
    )
    assert outcomes(deployed("sdk", "main:f"), None)[0] == [JobValue(1, None, False)]


def test_a_handle_without_a_name_in_the_module_is_found_in_its_app(write, deployed, outcomes, monkeypatch):
    registry = types.ModuleType("runpod.apps.app")
    registry.handles = {}
    registry.get_registered_apps = lambda: [types.SimpleNamespace(resources=registry.handles)]
    monkeypatch.setitem(sys.modules, "runpod.apps.app", registry)
    write(
        client=CLIENT,
        main="""
        import sys
        from client import queue
        f = queue("res")(lambda: 1)
        sys.modules["runpod.apps.app"].handles["res"] = f
        f = None
        """,
    )
    assert outcomes(deployed("sdk", "main:f"), None)[0] == [JobValue(1, None, False)]


def test_a_module_without_the_resource_is_a_start_error(write, deployed):
    write(client=CLIENT, main="from client import queue\nb = queue('b')(1)\na = queue('a')(1)\nc = a")
    with pytest.raises(StartError, match="module 'main' does not define a resource named 'res'; it defines: a, b"):
        deployed("sdk", "main:f").open()


def test_a_manifest_without_the_module_is_a_start_error(deployed):
    with pytest.raises(StartError, match="does not name the module of 'res'"):
        deployed("sdk").open()


def test_mounts_are_configured_before_the_app_uses_volumes(folder, write, deployed, outcomes, monkeypatch):
    (folder / "runpod" / "apps").mkdir(parents=True)
    write(**{"runpod/__init__": "", "runpod/apps/__init__": ""})
    write(**{"runpod/apps/volume": "paths = []\ndef _configure_mounts(bindings): paths.extend(bindings)"})
    write(
        client=CLIENT,
        main="""
        from client import queue
        from runpod.apps import volume
        paths = list(volume.paths)
        f = queue("res")(lambda: paths)
        """,
    )
    monkeypatch.setenv("RUNPOD_MOUNTS", '["/runpod-volume"]')
    assert outcomes(deployed("sdk", "main:f"), None)[0] == [JobValue(["/runpod-volume"], None, False)]
