"""The installed modules that calls import."""

import importlib
import sys
import types

import pytest

from tetra_runner.installed_imports import InstalledImports, installation_folders


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages; returns a function that adds a module to it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def add(path, source="", within=folder):
        file = within / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        importlib.invalidate_caches()

    add.folder = folder
    yield add
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_only_folders_of_installed_packages_count(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/app", "/v/lib/site-packages", "/usr/lib/python3/dist-packages/", "/lib"])
    assert installation_folders() == ("/v/lib/site-packages/", "/usr/lib/python3/dist-packages/")


def test_packages_are_found_once_before_those_that_they_import_and_without_their_modules(site):
    site("tt_second.py")
    site("tt_first/__init__.py", "import tt_first.part, tt_second")
    site("tt_first/part.py")
    installed = InstalledImports()
    importlib.import_module("tt_first")
    assert installed.take() == ["tt_first", "tt_second"]
    assert installed.take() == []


def test_further_modules_of_a_package_are_found_if_it_was_imported_before(site):
    site("tt_lazy/__init__.py")
    site("tt_lazy/sub/__init__.py", "import tt_lazy.sub.inner")
    site("tt_lazy/sub/inner.py")
    installed = InstalledImports()
    importlib.import_module("tt_lazy")
    installed.skip()
    importlib.import_module("tt_lazy.sub")
    assert installed.take() == ["tt_lazy.sub"]


def test_a_package_without_a_file_is_replaced_by_its_modules(site):
    site("tt_space/one/__init__.py", "import tt_space.one.inner")
    site("tt_space/one/inner.py")
    installed = InstalledImports()
    importlib.import_module("tt_space.one")
    assert installed.take() == ["tt_space.one"]


def test_user_code_and_the_standard_library_are_not_found(site, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    site("tt_mine.py", within=tmp_path / "code")
    installed = InstalledImports()
    importlib.import_module("tt_mine")
    sys.modules.pop("this", None)
    monkeypatch.setattr("builtins.print", lambda *_: None)
    importlib.import_module("this")
    assert installed.take() == []


def test_other_objects_among_the_modules_are_ignored_and_no_module_is_loaded_by_the_search(site, monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError("loads the module")

    installed = InstalledImports()
    monkeypatch.setitem(sys.modules, "tt_lazy", Lazy("tt_lazy"))
    monkeypatch.setitem(sys.modules, "tt_object", 7)
    monkeypatch.setitem(sys.modules, 7, 7)
    assert installed.take() == []


def test_the_number_of_modules_is_limited(site):
    for number in range(70):
        site(f"tt_{number:02}.py")
    installed = InstalledImports()
    for number in range(70):
        importlib.import_module(f"tt_{number:02}")
    assert installed.take() == [f"tt_{number:02}" for number in range(69, 5, -1)]


def test_modules_of_a_package_that_was_imported_before_do_not_displace_packages(site):
    site("tt_lazy/__init__.py")
    for number in range(30):
        site(f"tt_lazy/part_{number:02}.py")
    site("tt_other.py")
    importlib.import_module("tt_lazy")
    installed = InstalledImports()
    importlib.import_module("tt_other")
    for number in range(30):
        importlib.import_module(f"tt_lazy.part_{number:02}")
    assert installed.take() == ["tt_other", *(f"tt_lazy.part_{number:02}" for number in range(29, 13, -1))]


def test_the_folders_of_all_imported_modules_are_relative_to_the_virtual_environment(site, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(site.folder.parent))
    site("tt_deep/__init__.py", "import tt_deep.sub.inner")
    site("tt_deep/sub/inner.py")
    site("tt_deep/unused/__init__.py")
    installed = InstalledImports()
    importlib.import_module("tt_deep")
    sys.modules["tt_strange"] = 5  # type: ignore[assignment]
    assert installed.module_folders() == ["site-packages/tt_deep", "site-packages/tt_deep/sub"]
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    assert installed.module_folders() == []
