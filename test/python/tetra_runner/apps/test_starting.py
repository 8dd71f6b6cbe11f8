import asyncio
import sys

import pytest

from tetra_runner.apps.starting import StartError, starting
from tetra_runner.calls.cancel import Cancelled


def failure(error, own_modules=()):
    with pytest.raises(StartError) as caught, starting("import", own_modules):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), MemoryError(), asyncio.CancelledError(), GeneratorExit()]
)
def test_an_exception_of_the_app_is_the_cause_of_a_start_error(error):
    raised = failure(error)
    assert (raised.phase, raised.cause, raised.__cause__) == ("import", error, error)
    assert raised.missing is None


def test_a_cancel_is_not_a_start_error():
    with pytest.raises(Cancelled), starting("construct"):
        raise Cancelled


def test_an_inner_phase_is_kept():
    with pytest.raises(StartError) as caught, starting("construct"), starting("import"):
        raise ValueError
    assert caught.value.phase == "import"


def test_the_root_package_of_a_missing_module_is_named():
    raised = failure(ModuleNotFoundError("No module named 'nowhere'", name="nowhere.inner"))
    assert raised.missing == "nowhere"
    assert str(raised) == "No module named 'nowhere'"


def test_a_missing_module_of_the_app_cannot_be_installed():
    error = ModuleNotFoundError("No module named 'main'", name="main")
    raised = failure(error, ["main.inner"])
    assert raised.missing is None
    assert str(error).startswith("No module named 'main' (it is a module of the app, but")


def test_a_missing_submodule_of_an_existing_package_cannot_be_installed():
    with pytest.raises(StartError) as caught, starting("import"):
        __import__("json.nothing")
    assert caught.value.missing is None
    assert "json was found at" in str(caught.value.cause)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python does not list its modules")
def test_a_missing_module_of_the_standard_library_cannot_be_installed(monkeypatch):
    monkeypatch.setattr(sys, "stdlib_module_names", frozenset({"nowhere"}))
    raised = failure(ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))
    assert raised.missing is None
    assert "standard library" in str(raised.cause)


def test_a_broken_import_hook_is_ignored(monkeypatch):
    def broken(_):
        raise ValueError

    monkeypatch.setattr(sys, "path_hooks", [broken])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    assert failure(ModuleNotFoundError("No module named 'nowhere'", name="nowhere")).missing == "nowhere"


def test_a_module_not_found_error_without_a_name_has_no_missing_package():
    assert failure(ModuleNotFoundError("custom")).missing is None
