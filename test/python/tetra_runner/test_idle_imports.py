"""Imports while the process waits for its first job."""

import importlib
import os
import socket
import sys
from contextlib import contextmanager
from unittest.mock import Mock

import pytest

from tetra_runner import idle_imports, wire
from tetra_runner.idle_imports import IdleImports
from tetra_runner.installed_imports import InstalledImports

GIGABYTE = 1 << 30


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages; returns a function that adds a module to it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def add(name, source=""):
        (folder / f"{name}.py").write_text(source)
        importlib.invalidate_caches()

    yield add
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def idle(site):
    """Runs idle imports of these modules; returns the sent events."""
    here, there = socket.socketpair()
    output = Mock()

    @contextmanager
    def redirected():
        yield lambda: "printed\n"

    output.redirected = redirected

    def run(*names, seconds=60.0, memory=GIGABYTE, size=0, worker=None):
        channel = Mock(**{"fileno.return_value": here.fileno()})
        installed = InstalledImports()
        modules = [{"name": name, "bytes": size} for name in names]
        imports = IdleImports(channel, worker or Mock(), output, installed)
        imports.run({"modules": modules, "seconds": seconds, "memory": memory, "blobs": []})
        assert installed.take() == []
        assert {args[0][0] for args in channel.send.call_args_list} == {wire.IMPORTED}
        return [args[0][2] for args in channel.send.call_args_list]

    run.node = there
    with here, there:
        yield run


def kinds(events):
    return [(event["event"], event.get("module")) for event in events]


def imported(*names):
    return [pair for name in names for pair in (("started", name), ("ended", name))] + [("done", None)]


def test_modules_are_imported_in_their_order_with_their_cost_and_their_output(idle, site):
    site("ti_one")
    site("ti_two", "data = bytearray(50_000_000)")
    events = idle("ti_one", "ti_two")
    assert kinds(events) == imported("ti_one", "ti_two")
    assert (events[1]["error"], events[1]["output"]) == ("", "printed\n")
    assert events[3]["bytes"] > 40_000_000 or sys.platform != "linux"
    assert 0 < events[3]["seconds"] < 20


def test_a_module_that_another_one_imported_is_not_imported_again(idle, site):
    site("ti_outer", "import ti_inner")
    site("ti_inner")
    assert kinds(idle("ti_outer", "ti_inner")) == imported("ti_outer")


def test_user_code_is_never_imported(idle, tmp_path, monkeypatch):
    (tmp_path / "ti_mine.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert kinds(idle("ti_mine", "ti_missing", "no name", "")) == imported()


def test_user_code_that_hides_an_installed_module_is_not_imported(idle, site, tmp_path, monkeypatch):
    site("ti_hidden")
    (tmp_path / "ti_hidden.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert kinds(idle("ti_hidden")) == imported()


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ValueError('broken')", "ValueError: broken"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("import ti_nothing", "ModuleNotFoundError: No module named 'ti_nothing'"),
    ],
)
def test_the_error_of_an_import_is_reported_and_the_next_module_is_imported(idle, site, source, error):
    site("ti_bad", source)
    site("ti_good")
    events = idle("ti_bad", "ti_good")
    assert kinds(events) == imported("ti_bad", "ti_good")
    assert [events[1]["error"], events[3]["error"]] == [error, ""]


def test_a_frame_that_arrives_during_an_import_ends_the_imports_after_this_module(idle, site):
    site("ti_slow", f"import os; os.write({idle.node.fileno()}, b'x')")
    site("ti_next")
    assert kinds(idle("ti_slow", "ti_next")) == imported("ti_slow")


def test_no_module_is_imported_after_the_time_is_over(idle, site):
    site("ti_one")
    assert kinds(idle("ti_one", seconds=-1.0)) == imported()


def test_modules_that_would_need_too_much_memory_are_left_out(idle, site):
    site("ti_large")
    assert kinds(idle("ti_large", memory=1000, size=2000)) == imported()
    assert kinds(idle("ti_large", memory=100_000_000, size=2000)) == imported("ti_large")


def test_no_module_is_imported_after_the_memory_is_used(idle, site):
    site("ti_one", "data = bytearray(60_000_000)")
    site("ti_two")
    assert kinds(idle("ti_one", "ti_two", memory=50_000_000)) == imported("ti_one")


def test_the_state_of_the_process_is_restored_after_each_import(idle, site):
    site("ti_one")
    site("ti_two", "raise ValueError")
    worker = Mock()
    idle("ti_one", "ti_two", worker=worker)
    assert worker.after_import.call_count == 2


def test_a_process_with_a_half_imported_extension_module_ends(idle, site, monkeypatch):
    site("ti_bad", "raise ValueError")
    monkeypatch.setattr(idle_imports, "remove_partial_imports", lambda: "ti_bad.extension")
    monkeypatch.setattr(idle_imports, "exit_now", Mock(side_effect=ConnectionError))
    with pytest.raises(ConnectionError):
        idle("ti_bad")


def test_the_memory_of_the_process_is_known_on_linux():
    assert idle_imports.resident_bytes() > os.sysconf("SC_PAGE_SIZE") or sys.platform != "linux"
