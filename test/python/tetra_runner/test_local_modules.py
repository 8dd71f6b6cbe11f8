import importlib
import os
import sys
import types

import pytest

from tetra_runner.errors import RequestError
from tetra_runner.local_modules import ModuleStore


@pytest.fixture
def notes():
    return []


@pytest.fixture
def make(tmp_path, notes):
    """Creates a set of local modules, with `json` as the only module that Python loads at its start."""
    stores = {}

    def make(files, limit=16, in_use=lambda _: False):
        store = stores.setdefault(limit, ModuleStore(str(tmp_path), frozenset(("json",)), str(tmp_path / "cwd"), limit))
        return store.get(files, in_use, notes)

    return make


@pytest.fixture(autouse=True)
def _same_modules():
    path, modules = sys.path[:], dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.modules.update(modules)


def imported(name):
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_a_job_without_local_modules_has_no_set(make):
    assert make({}) is None


def test_modules_are_importable_only_while_a_call_runs(make):
    modules = make({"settings.py": "SIZE = 3", "package/__init__.py": "", "package/part.py": "NAME = 'p'"})
    modules.activate()
    assert imported("settings").SIZE == 3
    assert imported("package.part").NAME == "p"
    modules.deactivate()
    assert not {"settings", "package", "package.part"} & set(sys.modules)
    assert modules.folder not in sys.path
    with pytest.raises(ImportError):
        imported("settings")


def test_a_module_keeps_its_state_between_calls(make):
    modules = make({"counter.py": "n = 0"})
    for expected in (0, 1):
        modules.activate()
        counter = imported("counter")
        assert counter.n == expected
        counter.n += 1
        modules.deactivate()


def test_a_package_without_an_init_file_is_removed_too(make):
    modules = make({"folder/part.py": "x = 1"})
    modules.activate()
    assert imported("folder.part").x == 1
    modules.deactivate()
    assert not {"folder", "folder.part"} & set(sys.modules)


def test_other_modules_that_a_call_imports_are_kept(make):
    modules = make({"mine.py": ""})
    modules.activate()
    sys.modules["other"] = types.ModuleType("other")
    sys.modules["odd"] = object()
    modules.deactivate()
    assert {"other", "odd"} <= set(sys.modules)


def test_a_local_module_hides_an_imported_module_only_during_its_calls(make, notes):
    theirs = sys.modules["theirs"] = types.ModuleType("theirs")
    part = sys.modules["theirs.part"] = types.ModuleType("theirs.part")
    modules = make({"theirs.py": "mine = True"})
    modules.activate()
    assert imported("theirs").mine
    assert "theirs.part" not in sys.modules
    modules.deactivate()
    assert sys.modules["theirs"] is theirs
    assert sys.modules["theirs.part"] is part
    assert notes == []


@pytest.mark.parametrize(
    ("files", "note"),
    [
        ({"json.py": ""}, "'json' is ignored: Python has already loaded"),
        ({"colorsys.py": ""}, "'colorsys' hides the standard library module"),
        ({"cloudpickle/__init__.py": ""}, "'cloudpickle' hides the installed package"),
        ({"cloudpickle/part.py": ""}, None),
        ({"folder/json.py": ""}, None),
    ],
)
def test_a_note_reports_a_local_module_with_the_name_of_another_module(make, notes, files, note):
    if note is not None and "standard library" in note and sys.version_info < (3, 10):
        pytest.skip("Python 3.9 has no list of its modules")
    make(files)
    assert len(notes) == (0 if note is None else 1)
    assert note is None or note in notes[0]


def test_an_exception_of_an_import_hook_is_ignored(make, notes, monkeypatch):
    def find_spec(*_):
        raise ValueError

    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", find_spec)
    assert make({"mine.py": ""}) is not None
    assert notes == []


def test_equal_files_share_a_set(make):
    first = make({"a.py": "1", "b.py": "2"})
    assert make({"b.py": "2", "a.py": "1"}) is first
    assert make({"a.py": "1", "b.py": "3"}) is not first
    assert make({"a.py": "12", "b.py": ""}) is not first


def test_the_least_recently_used_set_is_removed_unless_it_is_in_use(make):
    first = make({"a.py": "1"}, limit=2)
    second = make({"a.py": "2"}, limit=2)
    make({"a.py": "1"}, limit=2)
    make({"a.py": "3"}, limit=2)
    assert os.path.exists(first.folder)
    assert not os.path.exists(second.folder)
    make({"a.py": "4"}, limit=2, in_use=lambda modules: modules is first)
    assert os.path.exists(first.folder)


@pytest.mark.parametrize(
    "path",
    ["a", "a.txt", "/a.py", "../a.py", "a/../b.py", "./a.py", "a//b.py", "a\\b.py", "a\n.py", "a\x7f.py", "\ud800.py"],
)
def test_a_path_that_is_not_a_module_in_the_folder_is_rejected(make, path):
    with pytest.raises(RequestError, match="is invalid"):
        make({path: ""})


def test_source_that_is_not_text_is_rejected(make):
    with pytest.raises(RequestError, match="is invalid"):
        make({"a.py": 1})


def test_a_module_that_cannot_be_written_is_rejected_and_leaves_no_files(make, tmp_path):
    with pytest.raises(RequestError, match="could not be written"):
        make({"a.py": "x = 1", "b.py": "'\ud800'"})
    assert list(tmp_path.iterdir()) == []
