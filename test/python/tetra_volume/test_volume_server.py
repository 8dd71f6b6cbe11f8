import errno
import json
import os
import subprocess
import sys
import threading
import types

import pytest

from tetra_volume import context, operations, server

PROGRAM = os.path.join(os.path.dirname(server.__file__), "__main__.py")


class Replies:
    """A server whose replies are read from a pipe."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self.server = server.Server(self.writing)
        self.lines = os.fdopen(self.reading, "rb")

    def send(self, identity, operation, **args):
        self.server.accept({"id": identity, "op": operation, "args": args})

    def next(self):
        return json.loads(self.lines.readline())


@pytest.fixture
def replies():
    made = Replies()
    yield made
    os.close(made.writing)
    made.lines.close()


@pytest.fixture
def operation(monkeypatch):
    """Adds an operation."""

    def add(name, function):
        module = types.ModuleType("tetra_volume.added")
        setattr(module, name, function)
        monkeypatch.setitem(sys.modules, "tetra_volume.added", module)
        monkeypatch.setitem(operations.OPERATIONS, f"added.{name}", f"added:{name}")

    return add


def test_a_request_is_answered_with_a_value_or_an_error(replies, volume):
    replies.send(1, "files.stat", path=str(volume))
    assert replies.next()["value"]["type"] == "Directory"
    replies.send(2, "files.stat", path=str(volume / "missing"))
    assert replies.next() == {
        "id": 2,
        "error": {"code": "ENOENT", "message": os.strerror(errno.ENOENT), "path": str(volume / "missing")},
    }
    replies.send(3, "files.unknown")
    assert replies.next()["error"]["code"] == "ENOSYS"
    replies.send(4, "files.stat")
    assert replies.next()["error"] == {"code": "UNKNOWN", "message": "KeyError: 'path'", "path": None}


@pytest.mark.parametrize("code", ["EDQUOT", "ESTALE", "ENOTCONN"])
def test_errors_of_the_system_have_their_names(code):
    error = OSError(getattr(errno, code), "reason")
    assert server.error_reply(error)["code"] == code


def test_an_operation_that_hangs_does_not_delay_others(replies, operation, volume):
    hanging = threading.Event()
    operation("hang", lambda args: hanging.wait(30))
    for identity in range(4):
        replies.send(identity, "added.hang")
    replies.send(9, "files.stat", path=str(volume))
    assert replies.next()["id"] == 9
    hanging.set()
    assert sorted(replies.next()["id"] for _ in range(4)) == [0, 1, 2, 3]


def test_a_finished_thread_is_used_again(replies, volume):
    for identity in range(20):
        replies.send(identity, "files.stat", path=str(volume))
        assert replies.next()["id"] == identity
    assert replies.server._threads <= 2


def test_a_long_operation_reports_progress(replies, operation, monkeypatch):
    monkeypatch.setattr(context, "PROGRESS_INTERVAL", 0)
    operation("long", lambda args: context.progress())
    replies.send(1, "added.long")
    assert replies.next() == {"id": 1, "progress": True}
    assert replies.next() == {"id": 1, "value": None}


def test_a_cancelled_operation_ends_with_its_programs_and_is_not_answered(replies, operation, volume):
    started, ended = threading.Event(), []

    def sleep(args):
        child = context.start_program(["sleep", "60"])
        started.set()
        ended.append(context.finish_program(child))
        context.progress()

    operation("sleep", sleep)
    replies.send(1, "added.sleep")
    assert started.wait(30)
    replies.server.accept({"cancel": 1})
    replies.server.accept({"cancel": 77})
    while not ended:
        replies.send(2, "files.stat", path=str(volume))
        assert replies.next()["id"] == 2
    assert ended == [-9]


def test_a_program_is_not_started_after_the_operation_was_cancelled():
    running = context.Running(lambda: None)
    running.cancel()
    context.enter(running)
    for act in (context.progress, lambda: context.start_program(["true"])):
        with pytest.raises(context.Cancelled):
            act()


def start(volume):
    return subprocess.Popen(
        [sys.executable, "-I", "-S", PROGRAM, json.dumps([str(volume)])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_the_program_answers_and_ends_with_its_input(volume):
    request = {"id": 1, "op": "files.mkdirs", "args": {"path": str(volume / "a" / "b")}}
    with start(volume) as process:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"id": 1, "value": None}
        process.stdin.close()
        assert process.wait(30) == 0
    assert (volume / "a" / "b").is_dir()


def test_the_program_ends_with_its_parent_even_if_it_is_stopped(volume):
    parent = f"""
import json, os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", {PROGRAM!r}, "[]"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
for identity in (1, 2):  # the second one comes after the first was accepted
    child.stdin.write(json.dumps({{"id": identity, "op": "files.stat", "args": {{"path": "/"}}}}).encode() + b"\\n")
    child.stdin.flush()
    child.stdout.readline()
os.kill(child.pid, signal.SIGSTOP)
print(child.pid, flush=True)
os._exit(0)
"""
    pid = int(subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, check=True).stdout)
    deadline = threading.Event()
    for _ in range(300):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    break
        except FileNotFoundError:
            break
        deadline.wait(0.1)
    else:
        pytest.fail("it still runs")
