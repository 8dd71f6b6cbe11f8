import json
import sys
import textwrap
from unittest.mock import Mock

import pytest

from contract import problems
from tetra_runner import messages, wire
from tetra_runner.apps import app as apps
from tetra_runner.wire import Frame


@pytest.fixture
def open_worker(make_worker, tmp_path, monkeypatch):
    """Returns a worker for an app whose function or class is `f` of a source."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(str(tmp_path))

    def open_worker(source):
        (tmp_path / "user_module.py").write_text(textwrap.dedent(source))
        target = {"module": "user_module", "name": "f", "methods": []}
        resource = {"client": "flash", "name": "app", "kind": "queue", "targets": [target], "handlerFile": None}
        return make_worker(app={"resource": resource, "path": [str(tmp_path)]})

    yield open_worker
    sys.modules.pop("user_module", None)


@pytest.fixture
def call():
    """Executes a call of an app; returns the metadata and the decoded value of the result."""

    def call(worker, kind, *inputs, limit=1 << 20, **fields):
        blobs = [memoryview(json.dumps(value).encode()) for value in inputs]
        meta = {"kind": kind, "format": "json", "limit": limit, "refresh": False, "blobs": [], **fields}
        assert list(problems(meta, messages.AppCallMeta, "call")) == []
        result, value = worker.call(Frame(7, meta, blobs))
        assert list(problems(result, messages.ResultMeta, "result")) == []
        return result, json.loads(b"".join(value)) if value else None

    return call


def test_opening_an_app_returns_what_it_is(open_worker, call):
    worker = open_worker("def f(): pass")
    result, value = call(worker, "open")
    assert value == {"overlaps": False, "isSingleton": False, "systemDependencies": []}
    assert (result["ok"], result["failure"], result["refresh"]) == (True, None, False)


def test_a_job_gets_its_input_and_returns_its_value(open_worker, call):
    worker = open_worker("def f(a, b=2): return [a, b]")
    call(worker, "open")
    assert call(worker, "job", {"a": 1})[1] == [1, 2]


def test_items_are_sent_as_chunks(open_worker, call, channel):
    worker = open_worker("def f(n): yield from range(n)")
    call(worker, "open")
    assert call(worker, "job", {"n": 2}, chunkLimit=100)[1] == [0, 1]
    assert [args[0][:3] for args in channel.send.call_args_list] == [(wire.CHUNK, 7, {"value": "json"})] * 2


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("''", None),
        ("'busy'", "busy"),
        ("{'code': [3]}", {"code": [3]}),
        ("[[0] * 50] * 91", "[[0, 0"),
        ("'x' * 200_000", "xxx"),
        ("['x' * 200_000]", '["xxx'),
        ("'\\ud800'", "\\ud800"),
    ],
)
def test_a_failure_is_returned_beside_the_value_and_large_ones_are_shortened(open_worker, call, error, failure):
    worker = open_worker(f"def f(): return {{'error': {error}, 'refresh_worker': True, 'a': 1}}")
    call(worker, "open")
    result, value = call(worker, "job", {})
    assert value == {"a": 1}
    assert result["refresh"]
    assert len(json.dumps(result["failure"])) < 70_000
    if isinstance(failure, str):
        assert result["failure"].startswith(failure)
    else:
        assert result["failure"] == failure


def test_a_failure_that_is_not_json_is_an_error_that_names_its_type(open_worker, call):
    worker = open_worker("def f(): return {'error': object()}")
    call(worker, "open")
    result, value = call(worker, "job", {})
    assert (result["error"]["kind"], value) == ("result", None)
    assert "object" in result["error"]["message"]


def test_the_text_of_an_exception_is_not_changed(open_worker, call):
    worker = open_worker("def f(): raise ValueError('no\\nway')")
    call(worker, "open")
    error = call(worker, "job", {})[0]["error"]
    assert (error["kind"], error["type"], error["message"]) == ("exception", "ValueError", "no\nway")


def test_the_error_of_a_start_names_the_phase_and_the_missing_package(open_worker, call):
    worker = open_worker("import nonexistent_package.sub\ndef f(): pass")
    result, value = call(worker, "open")
    error = result["error"]
    assert (error["kind"], error["type"], error["phase"]) == ("start", "ModuleNotFoundError", "import")
    assert (error["missing"], error["systemDependencies"], value) == ("nonexistent_package", [], None)


def test_the_loop_of_overlapping_jobs_handles_signals(open_worker, call, channel, state):
    worker = open_worker("async def f(): pass")
    call(worker, "open")
    overlap = worker.overlap(channel)
    state.handle_interrupts.assert_called_once_with(overlap.on_signal)


def test_the_state_that_an_app_sets_is_kept_except_what_cancels_jobs(open_worker, call, state, output):
    worker = open_worker("def f(): pass")
    call(worker, "open")
    worker.repair()
    state.repair.assert_not_called()
    state.reset_logging.assert_not_called()
    state.repair_signals.assert_called_once_with()
    output.restore.assert_called_once_with()
    output.replace_if_shared.assert_not_called()


def test_a_process_of_live_requests_has_no_app(worker, call):
    assert call(worker, "open")[0]["error"]["kind"] == "request"


@pytest.fixture
def serve_source(monkeypatch):
    serve_source = Mock(side_effect=lambda module, name, socket, ready: ready())
    monkeypatch.setattr(apps, "serve_source", serve_source)
    return serve_source


def test_a_live_resource_is_served_from_its_source_and_ready_is_a_chunk(worker, call, channel, serve_source):
    fields = {"code": "api = 1", "resource": "api", "socket": "/tmp/http.sock", "chunkLimit": 100}
    result, _ = call(worker, "serve", **fields)
    assert result["ok"]
    module, *others, _ = serve_source.call_args.args
    assert (module.api, others) == (1, ["api", "/tmp/http.sock"])
    kind, call_id, _, value = channel.send.call_args.args
    assert (kind, call_id, json.loads(b"".join(value))) == (wire.CHUNK, 7, {"ready": True})


def test_a_live_resource_that_cannot_be_imported_is_a_start_error(worker, call, serve_source):
    error = call(worker, "serve", code="import nonexistent_package", resource="api")[0]["error"]
    assert (error["kind"], error["phase"], error["missing"]) == ("start", "import", "nonexistent_package")
    serve_source.assert_not_called()
