import importlib.machinery
import inspect
import linecache
import os
import sys
import types

import pytest

from tetra_runner import sources
from tetra_runner.errors import RequestError
from tetra_runner.sources import Sources


@pytest.fixture(autouse=True)
def _same_main(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def unused(_):
    return False


def test_a_source_runs_in_a_new_main_module_each_time(tmp_path):
    source = Sources(str(tmp_path)).get("def f(): return f.__module__, __file__, __name__", "f", unused)
    first, second = source.execute(), source.execute()
    assert first is not second
    assert sys.modules["__main__"] is second
    assert first.f() == ("__main__", source.path, "__main__")


def test_inspect_can_read_the_file_of_a_source(tmp_path):
    text = "def f():\n    return 1\n"
    source = Sources(str(tmp_path)).get(text, "f", unused)
    with open(source.path) as file:
        assert file.read() == text
    assert inspect.getsource(source.execute().f) == text


@pytest.mark.parametrize(
    ("name", "stem"),
    [("f", "f"), ("a b", "job"), ("../x", "job"), ("é", "job"), ("f" * 101, "job"), ("f" * 100, "f" * 100)],
)
def test_the_file_has_the_name_of_the_function_if_it_is_a_short_ascii_identifier(tmp_path, name, stem):
    path = Sources(str(tmp_path)).get("", name, unused).path
    assert path == str(tmp_path / "1" / f"{stem}.py")


def test_the_same_text_is_compiled_once(tmp_path):
    known = Sources(str(tmp_path))
    assert known.get("x = 1", "f", unused) is known.get("x = 1", "g", unused)
    assert known.get("x = 2", "f", unused) is not known.get("x = 1", "f", unused)


def test_the_least_recently_used_source_is_removed(tmp_path):
    known = Sources(str(tmp_path), limit=2)
    first, second = known.get("1", "f", unused), known.get("2", "f", unused)
    known.get("1", "f", unused)
    known.get("3", "f", unused)
    assert os.path.exists(first.path)
    assert not os.path.exists(second.path)
    assert second.path not in linecache.cache


def test_a_source_in_use_is_not_removed(tmp_path):
    known = Sources(str(tmp_path), limit=1)
    first = known.get("1", "f", unused)
    second = known.get("2", "f", lambda source: source is first)
    third = known.get("3", "f", lambda source: source is first)
    assert os.path.exists(first.path)
    assert not os.path.exists(second.path)
    assert os.path.exists(third.path)


@pytest.mark.parametrize("text", ["def", "x = 'a\0b'", "x = '\ud800'", "(" * 1000])
def test_a_source_that_does_not_compile_is_rejected(tmp_path, text):
    with pytest.raises(RequestError) as error:
        Sources(str(tmp_path)).get(text, "f", unused)
    assert str(error.value).startswith(type(error.value.__cause__).__name__)


def test_a_source_runs_on_a_full_disk_and_has_its_lines_in_tracebacks(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    source = Sources(str(blocked)).get("x = 1\n", "f", unused)
    assert source.execute().x == 1
    assert linecache.getline(source.path, 1) == "x = 1\n"


def test_future_imports_of_the_runner_do_not_apply_to_a_source(tmp_path):
    source = Sources(str(tmp_path)).get("def f(x: int): pass", "f", unused)
    assert source.execute().f.__annotations__ == {"x": int}


def test_the_names_that_a_source_defines_are_listed(tmp_path):
    known = Sources(str(tmp_path))
    main = known.get("from os import getcwd\ndef f(): pass\nclass C: pass\nx = 1", "f", unused).execute()
    assert sources.defined_names(main) == "f, C"
    assert sources.defined_names(known.get("x = 1", "f", unused).execute()) == "nothing"


# --- interrupted imports -----------------------------------------------------------------------------------------


def test_submodules_of_an_interrupted_import_are_removed(monkeypatch):
    for name in ("half.part", "half.part.deeper", 5):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(str(name)))
    assert sources.remove_partial_imports() is None
    assert "half.part" not in sys.modules
    assert "half.part.deeper" not in sys.modules
    assert 5 in sys.modules
    assert "os.path" in sys.modules


def test_an_extension_module_of_an_interrupted_import_is_returned(monkeypatch):
    module = types.ModuleType("half.compiled")
    module.__loader__ = importlib.machinery.ExtensionFileLoader("half.compiled", "compiled.so")
    monkeypatch.setitem(sys.modules, "half.compiled", module)
    assert sources.remove_partial_imports() == "half.compiled"
    assert "half.compiled" not in sys.modules
