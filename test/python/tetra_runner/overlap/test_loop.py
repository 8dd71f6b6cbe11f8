import asyncio
import json
import socket
import struct
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from contract import problems
from tetra_runner import messages, process, wire
from tetra_runner.apps.app import JobValue
from tetra_runner.overlap import attribution
from tetra_runner.overlap.loop import Overlap
from tetra_runner.wire import Channel, Frame


class Node:
    """The other end of the control socket."""

    def __init__(self, connection):
        self._connection = connection
        self._file = connection.makefile("rb")

    def send(self, kind, call_id, meta, *blobs):
        text = json.dumps({**meta, "blobs": [len(blob) for blob in blobs]}).encode()
        body = struct.pack("<I", len(text)) + text + b"".join(blobs)
        self._connection.sendall(struct.pack("<IBxxxI", len(body), kind, call_id) + body)

    def call(self, call_id, job_input, kind="job", **fields):
        meta = {"kind": kind, "format": "json", "limit": 1 << 20, "refresh": False, **fields}
        self.send(wire.CALL, call_id, meta, json.dumps(job_input).encode())

    def cancel(self, call_id):
        self.send(wire.CANCEL, call_id, {})

    def bye(self):
        self.send(wire.BYE, 0, {})

    def receive(self):
        """The type, the number of the call, the metadata and the decoded value of the next frame."""
        length, kind, call_id = struct.unpack("<IBxxxI", self._file.read(12))
        body = self._file.read(length)
        (size,) = struct.unpack_from("<I", body)
        meta = json.loads(body[4 : 4 + size])
        hint = {wire.RESULT: messages.ResultMeta, wire.CHUNK: messages.ChunkMeta, wire.OUTPUT: messages.OutputMeta}
        assert list(problems(meta, hint[kind], "frame")) == []
        value = body[4 + size :]
        return kind, call_id, meta, json.loads(value) if value else None

    def close(self):
        self._file.close()
        self._connection.close()


@pytest.fixture
def state():
    return Mock(in_fork=Mock(return_value=False))


@pytest.fixture
def serve(monkeypatch, state):
    """Starts the loop in a thread with a first job. Returns Node's end, and a function that waits for the status."""
    monkeypatch.setattr(process, "prepare_for_forks", Mock())
    here, there = socket.socketpair()
    there.settimeout(20)
    node = Node(there)
    loop = asyncio.new_event_loop()
    statuses = []
    threads = []

    def serve(run_overlapping, first=None):
        app = SimpleNamespace(loop=SimpleNamespace(event_loop=loop), run_overlapping=run_overlapping)
        running = serve.overlap = Overlap(Channel(here), app, Mock(), state)
        node.call(1, first)
        frame = Channel(here).receive()
        assert isinstance(frame, Frame)
        threads.append(threading.Thread(target=lambda: statuses.append(running.run(frame))))
        threads[0].start()

        def status():
            threads[0].join(20)
            return statuses[0]

        return node, status

    yield serve
    node.close()
    for thread in threads:
        thread.join(20)
    here.close()
    loop.close()


async def echo(job_input, emit):
    return JobValue(job_input, None, False)


def test_each_job_ends_with_its_own_result(serve):
    arrived = []

    async def meet(job_input, emit):
        arrived.append(job_input)
        while len(arrived) < 3:
            await asyncio.sleep(0)
        return JobValue(job_input, None, False)

    node, status = serve(meet, "a")
    node.call(2, "b")
    node.call(3, "c")
    results = [node.receive() for _ in range(3)]
    assert sorted((call_id, value) for _, call_id, _, value in results) == [(1, "a"), (2, "b"), (3, "c")]
    assert all(kind == wire.RESULT and meta["ok"] for kind, _, meta, _ in results)
    node.bye()
    assert status() == 0


def test_failures_and_refreshes_are_returned_beside_the_value(serve):
    async def fail(job_input, emit):
        return JobValue(job_input, {"code": 3}, True)

    node, _ = serve(fail, {"a": 1})
    _, _, meta, value = node.receive()
    assert (meta["ok"], meta["failure"], meta["refresh"], value) == (True, {"code": 3}, True, {"a": 1})
    node.call(2, None)
    _, _, meta, value = node.receive()
    assert (meta["ok"], meta["value"], value) == (True, None, None)


def test_items_are_sent_as_chunks_of_their_job(serve):
    async def stream(job_input, emit):
        for item in job_input:
            emit(item)
        return JobValue(job_input, None, False)

    node, _ = serve(stream, [])
    node.receive()
    node.call(2, [1, 2], chunkLimit=100)
    assert [node.receive()[:4:3] for _ in range(3)] == [(wire.CHUNK, 1), (wire.CHUNK, 2), (wire.RESULT, [1, 2])]


def test_exceptions_also_those_that_end_an_event_loop_are_the_error_of_their_job(serve):
    async def fail(job_input, emit):
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "value": ValueError("no")}[job_input]

    node, _ = serve(fail, "value")
    node.call(2, "exit")
    node.call(3, "interrupt")
    errors = {call_id: meta["error"] for _, call_id, meta, _ in (node.receive() for _ in range(3))}
    assert (errors[1]["kind"], errors[1]["message"]) == ("exception", "no")
    assert (errors[2]["kind"], errors[3]["type"]) == ("exit", "KeyboardInterrupt")
    assert "/loop.py" not in errors[1]["traceback"]


def test_an_exit_in_a_task_that_a_job_created_does_not_end_the_loop(serve, capsys):
    async def leave():
        sys.exit(3)

    async def start_task(job_input, emit):
        task = asyncio.ensure_future(leave())
        await asyncio.wait([task])
        return JobValue("well", None, False)

    node, status = serve(start_task)
    assert node.receive()[3] == "well"
    assert "SystemExit: 3" in capsys.readouterr().err
    node.bye()
    assert status() == 0


def test_a_cancel_stops_only_its_own_job(serve):
    arrived = []

    async def wait(job_input, emit):
        arrived.append(job_input)
        while "go" not in arrived:
            await asyncio.sleep(0)
        return JobValue(job_input, None, False)

    node, _ = serve(wait, "first")
    node.call(2, "second")
    node.cancel(1)
    node.cancel(99)
    _, call_id, meta, _ = node.receive()
    assert (call_id, meta["error"]["kind"]) == (1, "cancelled")
    node.call(3, "go")
    assert sorted(node.receive()[1::2] for _ in range(2)) == [(2, "second"), (3, "go")]


def test_a_signal_stops_a_cancelled_job_that_blocks_the_loop_and_no_other(serve):
    blocked, interrupted = threading.Event(), threading.Event()

    async def block(job_input, emit):
        if job_input == "blocks":
            blocked.set()
            assert interrupted.wait(20)
            serve.overlap.on_signal(2, None)  # as the interpreter calls it in the main thread
        return JobValue(job_input, None, False)

    node, _ = serve(block, "blocks")
    assert blocked.wait(20)
    node.call(2, "next")
    node.cancel(1)
    interrupted.set()
    _, call_id, meta, _ = node.receive()
    assert (call_id, meta["error"]["kind"], meta["error"]["type"]) == (1, "cancelled", "Cancelled")
    assert node.receive()[1::2] == (2, "next")


def test_a_signal_does_not_stop_other_jobs(serve):
    async def interrupt(job_input, emit):
        serve.overlap.on_signal(2, None)
        serve.overlap._is_receiving = True  # the signal interrupts the receiver
        serve.overlap.on_signal(2, None)
        serve.overlap._is_receiving = False
        return JobValue(job_input, None, False)

    node, _ = serve(interrupt, "well")
    assert node.receive()[3] == "well"


def test_a_signal_does_not_stop_a_cancelled_job_in_the_middle_of_a_frame(serve):
    blocked, interrupted = threading.Event(), threading.Event()

    async def send(job_input, emit):
        blocked.set()
        assert interrupted.wait(20)
        running = serve.overlap
        running._channel._sender = threading.get_ident()
        running.on_signal(2, None)
        running._channel._sender = None
        return JobValue("whole", None, False)

    node, _ = serve(send)
    assert blocked.wait(20)
    node.cancel(1)
    interrupted.set()
    assert node.receive()[3] == "whole"


def test_a_job_is_cancelled_even_before_it_begins(serve):
    blocked, interrupted = threading.Event(), threading.Event()

    async def block(job_input, emit):
        if job_input == "blocks":
            blocked.set()
            assert interrupted.wait(20)
            serve.overlap.on_signal(2, None)  # receives the call and its cancel
        else:
            await asyncio.sleep(60)
        return JobValue(job_input, None, False)

    node, _ = serve(block, "blocks")
    assert blocked.wait(20)
    node.call(2, "waits")
    node.cancel(2)
    interrupted.set()
    assert node.receive()[1::2] == (1, "blocks")
    _, call_id, meta, _ = node.receive()
    assert (call_id, meta["error"]["kind"]) == (2, "cancelled")


def test_a_broken_cuda_context_is_reported(serve):
    async def fail(job_input, emit):
        raise RuntimeError("CUDA error: device-side assert triggered")

    node, _ = serve(fail)
    assert node.receive()[2]["poisoned"] == "CUDA error: device-side assert triggered"


def test_results_that_are_not_json_fail_their_job(serve):
    async def invalid(job_input, emit):
        return JobValue(object(), None, False)

    node, _ = serve(invalid)
    _, _, meta, value = node.receive()
    assert (meta["error"]["kind"], value) == ("result", None)


def test_output_belongs_to_the_job_of_its_task(serve):
    async def write(job_input, emit):
        async def child():
            await asyncio.sleep(0)
            attribution.current.get().write(1, f"{job_input} task\n")

        await child()
        await asyncio.get_running_loop().create_task(child())
        await asyncio.to_thread(lambda: attribution.current.get().write(1, f"{job_input} thread"))
        return JobValue(None, None, False)

    node, _ = serve(write, "a")
    node.call(2, "b")
    frames = [node.receive() for _ in range(8)]
    for call_id, name in ((1, "a"), (2, "b")):
        own = [(kind, meta.get("text")) for kind, number, meta, _ in frames if number == call_id]
        texts = [f"{name} task\n", f"{name} task\n", f"{name} thread"]
        assert own == [*((wire.OUTPUT, text) for text in texts), (wire.RESULT, None)]


def test_the_loop_ends_when_node_closes_the_connection(serve):
    node, status = serve(echo)
    node.receive()
    node._connection.shutdown(socket.SHUT_WR)
    assert status() == 0


@pytest.mark.parametrize("send", [lambda node: node.call(2, None, kind="open"), lambda node: node.send(77, 2, {})])
def test_the_loop_ends_if_node_sends_anything_but_jobs(serve, send):
    node, status = serve(echo)
    node.receive()
    send(node)
    assert status() == wire.PROTOCOL_BROKEN


def test_a_forked_child_that_returns_from_a_job_sends_no_result(serve, state, monkeypatch):
    exit_now = Mock(side_effect=asyncio.CancelledError)  # ends the task
    monkeypatch.setattr(process, "exit_now", exit_now)

    async def fork(job_input, emit):
        state.in_fork.return_value = job_input == "fork"
        return JobValue(job_input, None, False)

    node, _ = serve(fork, "fork")
    node.call(2, "parent")
    assert node.receive()[1] == 2
    exit_now.assert_called_once_with(0)
