import sys
import textwrap

import pytest

from tetra_runner.apps.app import DeployedApp


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An app folder: its modules can be imported during the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))  # opening an app adds a finder
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def write(folder):
    """Writes files of the app: write(main="def f(): ...") writes main.py."""

    def write(**modules):
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(textwrap.dedent(text))

    return write


@pytest.fixture
def deployed(folder):
    """An app with a target, such as "main:f"; its event loop is closed after the test."""
    apps = []

    def deployed(client, target=None, kind="queue", name="res", methods=(), handler_file=None):
        targets = []
        if target is not None:
            module, _, attribute = target.partition(":")
            targets = [{"module": module, "name": attribute, "methods": list(methods)}]
        resource = {"client": client, "name": name, "kind": kind, "targets": targets, "handlerFile": handler_file}
        app = DeployedApp({"resource": resource, "path": [str(folder)]})
        apps.append(app)
        return app

    yield deployed
    for app in apps:
        app.loop.close(wait=False)


@pytest.fixture
def outcomes():
    """Runs jobs one after another: the JobValues, and the emitted items."""

    def outcomes(app, *inputs):
        app.open()
        items = []
        return [app.run(job_input, items.append) for job_input in inputs], items

    return outcomes
