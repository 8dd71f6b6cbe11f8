import socket
import struct
import threading

import pytest

from tetra_runner import wire
from tetra_runner.overlap.shared_channel import SharedChannel
from tetra_runner.wire import Channel


@pytest.fixture
def ends():
    """The channel of the runner, and a file with what Node receives."""
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as node:
        there.settimeout(20)
        yield Channel(here), node


def calls_of(node, count):
    """The numbers of the calls of the next frames, and their bodies."""
    for _ in range(count):
        length, _, call_id = struct.unpack("<IBxxxI", node.read(12))
        yield call_id, node.read(length)


def test_frames_of_several_threads_arrive_whole(ends):
    channel, node = ends
    shared = SharedChannel(channel)
    start = threading.Barrier(4)

    def send_many(call_id):
        start.wait()
        for _ in range(50):
            shared.send(wire.CHUNK, call_id, {}, [bytes([call_id]) * 50_000])

    threads = [threading.Thread(target=send_many, args=(call_id,)) for call_id in range(4)]
    for thread in threads:
        thread.start()
    received = list(calls_of(node, 200))
    for thread in threads:
        thread.join()
    assert sorted(call_id for call_id, _ in received) == sorted([*range(4)] * 50)
    assert all(body[6:] == bytes([call_id]) * 50_000 for call_id, body in received)


def test_a_frame_that_node_does_not_expect_any_more_is_not_sent(ends):
    channel, node = ends
    shared = SharedChannel(channel)
    assert not shared.send_if(lambda: False, wire.OUTPUT, 1, {})
    assert shared.send_if(lambda: True, wire.OUTPUT, 2, {})
    assert [call_id for call_id, _ in calls_of(node, 1)] == [2]


def test_a_frame_that_is_sent_in_the_middle_of_another_one_follows_it(ends):
    channel, node = ends
    shared = SharedChannel(channel)
    send_all = channel._send_all

    def interrupted(parts):
        channel._send_all = send_all
        shared.send(wire.OUTPUT, 2, {})  # as a finalizer that prints does
        send_all(parts)

    channel._send_all = interrupted
    shared.send(wire.RESULT, 1, {})
    shared.send(wire.RESULT, 3, {})
    assert [call_id for call_id, _ in calls_of(node, 3)] == [1, 2, 3]
