import asyncio
import sys
import types

import pytest

from tetra_runner.apps.app import JobValue, StartError
from tetra_runner.errors import describe


def rejected(message):
    return JobValue({"success": False}, message, False)


def test_a_function_gets_the_input_as_keyword_arguments(write, deployed, outcomes):
    write(main="def f(a=1, **rest): return [a, rest]")
    values, _ = outcomes(deployed("flash", "main:f"), {"a": 2, "method": "x"}, None, {"__empty": True}, [])
    assert values == [
        JobValue([2, {"method": "x"}], None, False),
        JobValue([1, {}], None, False),
        JobValue([1, {}], None, False),
        rejected("Malformed input: expected dict, got list"),
    ]


def test_the_items_of_a_generator_are_emitted_and_returned(write, deployed, outcomes):
    write(main="def f(n):\n    yield from range(n)")
    values, items = outcomes(deployed("flash", "main:f"), {"n": 3})
    assert values == [JobValue([0, 1, 2], None, False)]
    assert items == [0, 1, 2]


def test_an_item_with_an_error_fails_the_job(write, deployed, outcomes):
    write(main="def f():\n    yield 1\n    yield {'error': 'no'}")
    values, items = outcomes(deployed("flash", "main:f"), None)
    assert values == [JobValue(None, "no", False)]
    assert items == [1]


def test_an_exception_of_a_function_is_raised(write, deployed):
    write(main="def f(): raise LookupError('no')")
    app = deployed("flash", "main:f")
    app.open()
    with pytest.raises(LookupError) as caught:
        app.run(None, lambda _: None)
    frames = [line for line in describe(caught.value)["traceback"].splitlines() if "File" in line]
    assert [line.split('"')[1] for line in frames] == [__file__, sys.modules["main"].__file__]


COUNTER = """
    made = []
    class Counter:
        def __init__(self):
            made.append(self)
            self.n = 0
        def add(self, by=1):
            self.n += by
            return self.n
        async def get(self):
            return self.n
        def _hidden(self): ...
"""


def test_methods_are_called_on_one_instance(write, deployed, outcomes):
    write(main=COUNTER)
    app = deployed("flash", "main:Counter", methods=["get", "add"])
    values, _ = outcomes(app, {"method": "add", "by": 2}, {"method": "get"})
    assert [value.value for value in values] == [2, 2]
    assert len(sys.modules["main"].made) == 1
    assert app.open() == {"overlaps": False, "isSingleton": True, "systemDependencies": []}


@pytest.mark.parametrize(
    ("job_input", "message"),
    [
        (None, 'class Counter has multiple methods: add, get. include a "method" key in the input.'),
        ({"method": "__init__"}, "unknown method '__init__' on Counter. available: add, get"),
        ({"method": ["add"]}, "unknown method '['add']' on Counter. available: add, get"),
        (3, "Malformed input: expected dict, got int"),
    ],
)
def test_an_unknown_method_is_rejected(write, deployed, outcomes, job_input, message):
    write(main=COUNTER)
    app = deployed("flash", "main:Counter", methods=["get", "add"])
    assert outcomes(app, job_input)[0] == [rejected(message)]


def test_the_only_method_of_a_class_is_called_whatever_the_input_names(write, deployed, outcomes):
    write(main=COUNTER)
    app = deployed("flash", "main:Counter", methods=["add"])
    assert outcomes(app, {"method": "get"})[0] == [JobValue(1, None, False)]


def test_the_public_methods_are_used_if_the_manifest_lists_none(write, deployed, outcomes):
    write(main=COUNTER)
    app = deployed("flash", "main:Counter")
    assert outcomes(app, {"method": "add"}, {"method": "_hidden"})[0] == [
        JobValue(1, None, False),
        rejected("unknown method '_hidden' on Counter. available: add, get"),
    ]


@pytest.mark.parametrize(
    ("source", "overlaps"),
    [
        ("def f(): ...", False),
        ("async def f(): ...", True),
        ("async def f():\n    yield", True),
        ("class f:\n    async def m(self): ...\n    async def n(self):\n        yield", True),
        ("class f:\n    async def m(self): ...\n    def n(self): ...", False),
        ("class C:\n    async def __call__(self): ...\nf = C()", True),
    ],
)
def test_jobs_overlap_if_everything_they_call_is_asynchronous(write, deployed, source, overlaps):
    write(main=source)
    assert deployed("flash", "main:f").open()["overlaps"] is overlaps


def test_jobs_overlap_in_the_loop_of_the_app(write, deployed):
    write(
        main="""
        import asyncio
        imported = asyncio.get_event_loop()
        class Meeting:
            def __init__(self):
                self.loops = {imported, asyncio.get_event_loop()}
                self.event = asyncio.Event()
            async def wait(self):
                await self.event.wait()
                return self.loops == {asyncio.get_running_loop()}
            async def come(self):
                self.event.set()
                yield 1
            async def fail(self):
                raise LookupError
        """
    )
    app = deployed("flash", "main:Meeting", methods=["wait", "come", "fail"])
    app.open()
    items = []

    async def jobs():
        inputs = [{"method": method} for method in ("wait", "come", "fail", "other")]
        running = [app.run_overlapping(job_input, items.append) for job_input in inputs]
        return await asyncio.gather(*running, return_exceptions=True)

    waited, came, failed, other = app.loop.event_loop.run_until_complete(jobs())
    assert (waited, came, items) == (JobValue(True, None, False), JobValue([1], None, False), [1])
    assert isinstance(failed, LookupError)
    assert other == rejected("unknown method 'other' on Meeting. available: come, fail, wait")


def test_coroutines_of_all_jobs_run_in_one_loop(write, deployed, outcomes):
    write(main="import asyncio\nasync def f(): return id(asyncio.get_running_loop())")
    values, _ = outcomes(deployed("flash", "main:f"), None, None)
    assert values[0] == values[1]


def stub_module(monkeypatch, source):
    """A module of the client, whose decorators may bind a stub to the name of a function."""
    client = types.ModuleType("runpod_flash.client")
    exec(source, vars(client))
    monkeypatch.setitem(sys.modules, "runpod_flash", types.ModuleType("runpod_flash"))
    monkeypatch.setitem(sys.modules, "runpod_flash.client", client)


def test_a_function_is_called_instead_of_its_stub(write, deployed, outcomes, monkeypatch):
    stub_module(
        monkeypatch,
        """if True:
        from functools import wraps
        def remote(function):
            @wraps(function)
            async def stub(): raise RuntimeError
            return stub
        """,
    )
    write(main="from runpod_flash.client import remote\n@remote\ndef f(): return 1")
    assert outcomes(deployed("flash", "main:f"), None)[0] == [JobValue(1, None, False)]


def test_a_class_is_constructed_instead_of_its_stub(write, deployed, outcomes, monkeypatch):
    stub_module(
        monkeypatch,
        """if True:
        def remote(cls):
            class Stub:
                _wrapped_class = cls
            return Stub
        """,
    )
    write(main="from runpod_flash.client import remote\n@remote\nclass C:\n    def m(self): return 1")
    assert outcomes(deployed("flash", "main:C", methods=["m"]), None)[0] == [JobValue(1, None, False)]


def test_decorators_of_the_user_are_kept(write, deployed, outcomes):
    write(
        main="""
        from functools import lru_cache, wraps
        def twice(function):
            @wraps(function)
            def wrapper(): return 2 * function()
            return wrapper
        @lru_cache(maxsize=None)
        @twice
        def f(): return 1
        g = f.__wrapped__
        """
    )
    for target in ("main:f", "main:g"):
        assert outcomes(deployed("flash", target), None)[0] == [JobValue(2, None, False)]


DEPENDENT = """
    class C:
        def __init__(self): {}
        def m(self): ...
    C.__remote_config__ = {{"system_dependencies": ["ffmpeg", "tree", "ffmpeg"]}}
"""


def test_system_dependencies_are_read_from_the_decorated_object(write, deployed):
    write(main=DEPENDENT.format("pass"))
    assert deployed("flash", "main:C").open()["systemDependencies"] == ["ffmpeg", "tree"]


def test_system_dependencies_are_known_if_a_constructor_fails(write, deployed):
    write(main=DEPENDENT.format("raise OSError('no ffmpeg')"))
    with pytest.raises(StartError, match="no ffmpeg") as caught:
        deployed("flash", "main:C").open()
    assert (caught.value.phase, caught.value.system_dependencies) == ("construct", ["ffmpeg", "tree"])


@pytest.mark.parametrize("config", ["None", "{}", "{'system_dependencies': None}", "[]"])
def test_objects_without_system_dependencies_have_none(write, deployed, config):
    write(main=f"def f(): ...\nf.__remote_config__ = {config}")
    assert deployed("flash", "main:f").open()["systemDependencies"] == []


@pytest.mark.parametrize(
    ("target", "message", "missing"),
    [
        ("main:f", "No module named 'nowhere'", "nowhere"),
        ("other:f", "No module named 'other' (it is a module of the app", None),
        ("empty:f", "cannot import name 'f' from 'empty'", None),
        ("values:f", "f cannot be called: it is a value of type int", None),
        ("values:C", "the class C has no public methods", None),
    ],
)
def test_a_failed_import_is_a_start_error(write, deployed, target, message, missing):
    write(main="import nowhere.inner", empty="", values="f = 1\nclass C:\n    def _hidden(self): ...")
    with pytest.raises(StartError) as caught:
        deployed("flash", target).open()
    assert (caught.value.phase, caught.value.missing) == ("import", missing)
    assert message in str(caught.value.cause)


HANDLER = """
    def handler(job):
        if "bad" in job["input"]:
            return {"success": False, "error": "no", "traceback": "T"}
        return [job["input"]]
"""


def test_the_handler_file_is_used_if_the_manifest_names_no_function(write, deployed, outcomes):
    write(**{"handler_a-b": HANDLER})
    app = deployed("flash", handler_file="handler_a-b.py")
    values, _ = outcomes(app, {"a": 1}, None, {"bad": 1}, "x")
    assert values == [
        JobValue([{"a": 1}], None, False),
        JobValue([{}], None, False),
        JobValue({"success": False, "traceback": "T"}, "no", False),
        rejected("Malformed input: expected dict, got str"),
    ]
    assert app.open() == {"overlaps": False, "isSingleton": False, "systemDependencies": []}


@pytest.mark.parametrize(("kind", "name"), [("queue", "handler"), ("api", "app")])
def test_a_handler_file_whose_handler_is_not_callable_is_a_start_error(write, deployed, kind, name):
    write(handler_res="handler = app = 5")
    with pytest.raises(StartError, match=f"{name} cannot be called: it is a value of type int"):
        deployed("flash", kind=kind, handler_file="handler_res.py").open()


def test_a_manifest_without_functions_and_handler_file_is_a_start_error(deployed):
    with pytest.raises(StartError, match="neither functions nor a handler file for 'res'"):
        deployed("flash").open()
