import sys
import threading

import pytest

from tetra_runner import clients

AIOHTTP = """
import executions
executions.count += 1
from . import client
from .client import Session
def __getattr__(name):
    if name == "lazy": return "found"
    raise AttributeError(f"aiohttp has no {name}")
"""

# Uses the package that imports it, as circular imports do.
CLIENT = "import aiohttp\nSession = 'a session'\nPACKAGE = aiohttp.__name__"

RUNPOD = "import aiohttp\ndef call(): return aiohttp.Session\n"

VOLUME = """
bindings = None
def _configure_mounts(value):
    global bindings
    bindings = value
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages with the names of the clients' and aiohttp's, and the hook that defers aiohttp."""
    files = {
        "executions.py": "count = 0",
        "aiohttp/__init__.py": AIOHTTP,
        "aiohttp/client.py": CLIENT,
        "aiohttp/web.py": "import aiohttp\nROUTES = aiohttp.Session",
        "runpod/__init__.py": RUNPOD,
        "runpod/apps/__init__.py": "",
        "runpod/apps/volume.py": VOLUME,
        "user.py": "import aiohttp",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    for name in list(sys.modules):
        if name.partition(".")[0] in ("aiohttp", "runpod", "executions", "user"):
            monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    clients.prepare()
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def executions():
    return __import__("executions").count


def test_a_client_imports_aiohttp_at_its_first_use(packages):
    import runpod

    assert executions() == 0
    assert runpod.call() == "a session"
    assert executions() == 1
    assert runpod.call() == "a session"
    assert executions() == 1


def test_an_executed_module_is_the_same_ordinary_module(packages):
    import runpod

    module = sys.modules["aiohttp"]
    runpod.call()
    assert sys.modules["aiohttp"] is module
    assert type(module) is type(sys)
    assert module.__path__ == [str(packages / "aiohttp")]
    assert module.__spec__.loader is module.__loader__
    assert not hasattr(module, "__deferred__")


def test_its_file_is_known_before_it_is_executed(packages):
    import runpod  # noqa: F401

    assert sys.modules["aiohttp"].__file__ == str(packages / "aiohttp" / "__init__.py")
    assert executions() == 0


def test_user_code_imports_aiohttp_at_once(packages):
    import user  # noqa: F401

    assert executions() == 1


def test_an_import_of_a_submodule_executes_the_package_first(packages):
    __import__("runpod")
    import aiohttp.web

    assert aiohttp.web.ROUTES == "a session"
    assert aiohttp.client.PACKAGE == "aiohttp"
    assert executions() == 1


def test_an_unknown_attribute_is_an_error_of_the_package(packages):
    import runpod

    with pytest.raises(AttributeError, match="aiohttp has no nothing"):
        _ = runpod.aiohttp.nothing
    assert runpod.aiohttp.lazy == "found"


def test_an_error_of_the_package_is_raised_at_its_first_use_and_again_at_the_next(packages):
    (packages / "aiohttp" / "__init__.py").write_text("raise OSError('broken')")
    import runpod

    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            runpod.call()


def test_a_missing_package_is_an_error_of_the_import(packages):
    (packages / "aiohttp" / "__init__.py").unlink()
    (packages / "aiohttp").rename(packages / "other")
    with pytest.raises(ModuleNotFoundError):
        import runpod  # noqa: F401


def test_threads_that_use_it_first_at_the_same_time_wait_for_each_other(packages, monkeypatch):
    all_started = threading.Event()
    monkeypatch.setattr(sys, "all_started", all_started, raising=False)
    (packages / "aiohttp" / "__init__.py").write_text("import sys\nassert sys.all_started.wait(10)\n" + AIOHTTP)
    import runpod

    found = []
    threads = [threading.Thread(target=lambda: found.append(runpod.call())) for _ in range(4)]
    for thread in threads:
        thread.start()
    all_started.set()
    for thread in threads:
        thread.join()
    assert found == ["a session"] * 4
    assert executions() == 1


def test_volumes_get_the_mounts_of_the_worker(packages, monkeypatch):
    monkeypatch.setenv("RUNPOD_MOUNTS", '[{"kind": "network", "path": "/runpod-volume"}]')
    import runpod.apps.volume as volume

    assert volume.bindings == [{"kind": "network", "path": "/runpod-volume"}]


def test_volumes_have_no_mounts_without_the_variable(packages, monkeypatch):
    monkeypatch.delenv("RUNPOD_MOUNTS", raising=False)
    import runpod.apps.volume as volume

    assert volume.bindings is None


def test_it_is_prepared_once(packages):
    before = list(sys.meta_path)
    clients.prepare()
    assert sys.meta_path == before
