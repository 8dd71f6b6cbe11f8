"""The start and the loop of the runner. The integration tests run complete jobs in its process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

import golden
from contract import problems
from tetra_runner import messages, server, wire

PACKAGE = Path(server.__file__).parent


def test_ready_contains_the_process_id_and_the_interpreter():
    meta = server.ready_meta()
    assert list(problems(meta, messages.ReadyMeta, "ready")) == []
    assert (meta["pid"], meta["prefix"]) == (os.getpid(), sys.prefix)
    assert meta["python"] == sys.version.split()[0]


@pytest.fixture
def worker():
    worker = Mock()
    worker.call.return_value = {"ok": True}, [b"value"]
    worker.imported.return_value = None
    return worker


def test_calls_are_executed_until_node_closes_the_connection(worker, frame):
    channel = Mock()
    channel.receive.side_effect = [frame(call_id=1), frame(call_id=2), None]
    assert server.serve(channel, worker) == 0
    assert [args[0][:2] for args in channel.send.call_args_list] == [(wire.RESULT, 1), (wire.RESULT, 2)]
    assert worker.repair.call_count == 2


def test_a_cancel_frame_is_ignored_while_calls_do_not_overlap(worker, frame):
    channel = Mock()
    channel.receive.side_effect = [wire.Cancel(7), frame(call_id=1), None]
    assert server.serve(channel, worker) == 0
    worker.call.assert_called_once()


def test_modules_are_imported_between_calls_and_what_a_call_imported_is_reported_after_its_result(worker, frame):
    channel = Mock()
    channel.receive.side_effect = [wire.Imports({"modules": []}), frame(call_id=1), None]
    worker.imported.return_value = {"event": "used"}
    assert server.serve(channel, worker) == 0
    worker.import_while_idle.assert_called_once_with(channel, {"modules": []})
    sent = [args[0] for args in channel.send.call_args_list]
    assert sent == [(wire.RESULT, 1, {"ok": True}, [b"value"]), (wire.IMPORTED, 0, {"event": "used"})]


def test_the_runner_exits_if_the_channel_breaks_during_imports(worker):
    channel = Mock()
    channel.receive.side_effect = [wire.Imports({"modules": []})]
    worker.import_while_idle.side_effect = OSError
    assert server.serve(channel, worker) == wire.PROTOCOL_BROKEN


def test_from_the_first_job_that_may_overlap_the_event_loop_receives_frames(worker, frame):
    channel, first, job = Mock(), frame(call_id=1), frame(call_id=2, overlaps=True)
    channel.receive.side_effect = [first, job]
    assert server.serve(channel, worker) == worker.overlap(channel).run.return_value
    worker.call.assert_called_once_with(first)
    worker.overlap(channel).run.assert_called_once_with(job)


@pytest.mark.parametrize("inherited", [None, "/elsewhere"])
def test_the_folders_of_an_app_come_first_on_the_path_also_of_child_processes(monkeypatch, inherited):
    monkeypatch.setattr(sys, "path", ["/site-packages"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if inherited is not None:
        monkeypatch.setenv("PYTHONPATH", inherited)
    server.add_app_path(["/app/env", "/app"])
    assert sys.path == ["/app/env", "/app", "/site-packages"]
    assert os.environ["PYTHONPATH"].split(":") == ["/app/env", "/app", *([inherited] if inherited else [])]


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_the_runner_exits_if_the_channel_is_broken(worker, frame, error):
    channel = Mock()
    channel.receive.side_effect = error
    assert server.serve(channel, worker) == wire.PROTOCOL_BROKEN
    channel.receive.side_effect = [frame()]
    channel.send.side_effect = error
    assert server.serve(channel, worker) == wire.PROTOCOL_BROKEN
    worker.repair.assert_not_called()


def start(tmp_path, cwd, first=None, **options):
    """Starts a runner with a first frame; returns its process and Node's end of the control socket."""
    here, there = socket.socketpair()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = {**golden.LIVE_CONFIG, "dir": str(scratch), "cwd": str(cwd), "parent": os.getpid()}

    def pass_socket():
        os.dup2(there.fileno(), 3)

    process = subprocess.Popen(
        [sys.executable, str(PACKAGE / "__main__.py")],
        preexec_fn=pass_socket,
        close_fds=False,
        cwd=str(tmp_path),
        stderr=subprocess.PIPE,
        **options,
    )
    there.close()
    here.settimeout(20)
    if first is None:
        first = golden.frame_of("config", 0, config)
    here.sendall(first)
    return process, here


def test_modules_in_the_current_folder_or_in_pythonpath_do_not_replace_modules_of_the_runner(tmp_path):
    cwd = tmp_path / "cwd"
    for name in ("tetra_runner", "wire", "values", "aio", "process", "output"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('hides the runner')")
    process, node = start(tmp_path, cwd, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    with process, node:
        data = node.recv(1 << 16)
        assert data[4] == wire.READY
        assert json.loads(data[16:])["pid"] == process.pid
        node.sendall(b"\0\0\0\0\5\0\0\0\0\0\0\0")
        assert process.wait(20) == 0
    assert cwd.exists()


@pytest.mark.parametrize("first", [b"", golden.frame_of("bye", 0, {})], ids=["the end of the stream", "BYE"])
def test_a_runner_that_is_not_needed_exits_before_it_is_configured(tmp_path, first):
    process, node = start(tmp_path, tmp_path / "cwd", first)
    with process, node:
        node.shutdown(socket.SHUT_WR)
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    assert not (tmp_path / "cwd").exists()


def test_the_error_of_a_failed_start_is_written_to_the_original_stderr(tmp_path):
    (tmp_path / "file").write_text("")
    process, node = start(tmp_path, tmp_path / "file")
    with process, node:
        assert b"FileExistsError" in process.stderr.read()
        assert process.wait(20) == 1


def test_the_runner_exits_with_a_message_without_cloudpickle(tmp_path):
    (tmp_path / "cloudpickle.py").write_text("raise ImportError('no module')")
    process, node = start(tmp_path, tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    with process, node:
        assert b"The package cloudpickle" in process.stderr.read()
        assert process.wait(20) == 3


# --- show_value.py -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blob", "limit", "status", "text"),
    [
        (b"N.", 100, 0, "None"),
        (b"Vabcdef\n.", 4, 0, "'abc …"),
        (b"x", 1000, 1, "it can't be loaded here: UnpicklingError: "),
        (b"cos\nsystem\n(S'echo printed'\ntR.", 100, 0, "0"),
        (b"cbuiltins\nexit\n)R.", 100, 1, "it can't be loaded here: SystemExit: "),
    ],
    ids=["a value", "a long value", "an invalid pickle", "a pickle that prints", "a pickle that exits"],
)
def test_only_the_repr_of_a_pickle_is_printed(blob, limit, status, text):
    command = [sys.executable, "-I", str(PACKAGE / "show_value.py"), str(limit)]
    done = subprocess.run(command, input=blob, capture_output=True, timeout=20)
    assert done.returncode == status
    assert done.stdout.decode().startswith(text)
    assert status == 1 or done.stdout.decode() == text
    assert done.stderr == b""
