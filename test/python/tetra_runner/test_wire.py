import json
import socket
import struct
import threading
import typing

import pytest

import golden
from contract import all_fields, problems, used_fields
from tetra_runner import messages, wire
from tetra_runner.wire import Channel

NODE = [message for message in golden.MESSAGES if message.sender == "node"]
RUNNER = [message for message in golden.MESSAGES if message.sender == "runner"]
TYPES = {
    "ready": messages.ReadyMeta,
    "call": messages.AnyCallMeta,
    "chunk": messages.ChunkMeta,
    "result": messages.ResultMeta,
    "output": messages.OutputMeta,
    "imports": messages.ImportsMeta,
    "imported": messages.ImportedMeta,
}
TYPED = [message for message in golden.MESSAGES if message.type in TYPES]


def names(message):
    return message.name


@pytest.fixture
def ends():
    """The channel of the runner, and Node's end of the socket."""
    here, there = socket.socketpair()
    with here, there:
        yield Channel(here), there


# --- the contract ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", TYPED, ids=names)
def test_a_golden_message_has_exactly_the_fields_of_its_type(message):
    assert list(problems(message.meta, TYPES[message.type], message.type)) == []


def test_the_golden_start_up_argument_has_exactly_the_fields_of_its_type():
    assert list(problems(golden.CONFIG, messages.RunnerConfig, "config")) == []


@pytest.mark.parametrize("kind", TYPES)
def test_the_golden_messages_use_every_field_of_a_type(kind):
    metas = [message.meta for message in golden.MESSAGES if message.type == kind]
    assert set(used_fields(TYPES[kind], metas)) == set(all_fields(TYPES[kind]))


def test_the_golden_messages_use_every_kind_of_error():
    errors = [message.meta.get("error") for message in RUNNER]
    assert {error["kind"] for error in errors if error} == set(typing.get_args(messages.ErrorKind))


@pytest.mark.parametrize("message", golden.MESSAGES, ids=names)
def test_a_golden_frame_matches_the_description_of_the_format(message):
    assert message.frame == message.expected_frame(), "run: python3 test/python/tetra_runner/golden.py"
    assert golden.TYPES[message.type] == getattr(wire, message.type.upper())


@pytest.mark.parametrize("message", RUNNER, ids=names)
def test_a_golden_message_from_the_runner_is_encoded_to_the_same_bytes(ends, message):
    channel, node = ends
    channel.send(golden.TYPES[message.type], message.call, message.meta, message.blobs)
    assert node.recv(1 << 16) == message.frame


@pytest.mark.parametrize("message", NODE, ids=names)
def test_a_golden_message_from_node_is_decoded_from_its_bytes(ends, message):
    channel, node = ends
    node.sendall(message.frame)
    frame = channel.receive()
    if message.type == "bye":
        assert frame is None
    elif message.type == "cancel":
        assert frame == wire.Cancel(message.call)
    elif message.type == "imports":
        assert frame == wire.Imports(message.meta)
    else:
        assert (frame.call_id, frame.meta) == (message.call, message.meta)
        assert [bytes(blob) for blob in frame.blobs] == message.blobs


# --- the channel -------------------------------------------------------------------------------------------------


def call(meta, *blobs, kind=wire.CALL, extra=b""):
    text = json.dumps(meta).encode()
    body = struct.pack("<I", len(text)) + text + b"".join(blobs) + extra
    return struct.pack("<IBxxxI", len(body), kind, 7) + body


def test_receive_returns_none_if_the_stream_ends_between_or_inside_frames(ends):
    whole = call({"blobs": [3]}, b"abc")
    for size in (0, 1, 11, 12, 20, len(whole) - 1):
        here, there = socket.socketpair()
        with here:
            with there:
                there.sendall(whole[:size])
            assert Channel(here).receive() is None


def received_config(data):
    here, there = socket.socketpair()
    with here:
        with there:
            there.sendall(data)
        return Channel(here).receive_config()


def test_the_configuration_is_the_first_frame():
    assert received_config(golden.frame_of("config", 0, golden.CONFIG)) == golden.CONFIG


@pytest.mark.parametrize("cut", [0, 5, 12, 30])
def test_there_is_no_configuration_if_the_stream_ends(cut):
    assert received_config(golden.frame_of("config", 0, golden.CONFIG)[:cut]) is None


@pytest.mark.parametrize("first", [call({}), struct.pack("<IBxxxI", 3, wire.CONFIG, 0) + b"abc"])
def test_other_first_frames_are_an_error(first):
    with pytest.raises(ValueError):
        received_config(first)


@pytest.mark.parametrize(
    "data",
    [
        call({"blobs": []}, kind=wire.RESULT),
        call({"blobs": []}, kind=77),
        struct.pack("<IBxxxI", 3, wire.CALL, 7) + b"abc",
        call({"blobs": [3]}, b"ab"),
        call({"blobs": [3]}, b"abc", extra=b"d"),
        call({}, b"abc"),
        struct.pack("<IBxxxI", 6, wire.CALL, 7) + struct.pack("<I", 2) + b"}{",
    ],
    ids=[
        "a result",
        "an unknown type",
        "too short",
        "a missing blob",
        "too long",
        "no lengths of blobs",
        "invalid JSON",
    ],
)
def test_bytes_that_are_not_a_call_are_rejected(ends, data):
    channel, node = ends
    node.sendall(data)
    with pytest.raises(ValueError):
        channel.receive()


def test_a_frame_that_arrives_in_parts_is_read_completely(ends):
    channel, node = ends
    blob = bytes(range(256)) * 4000

    class Piecewise:
        """A connection with short reads, which a signal can cause."""

        def recv_into(self, view, size, flags):
            assert size == 0
            assert flags == socket.MSG_WAITALL
            return node_end.recv_into(view[:1000])

    node_end = channel._socket
    channel._recv_into = Piecewise().recv_into
    sender = threading.Thread(target=node.sendall, args=(call({"blobs": [len(blob)]}, blob),))
    sender.start()
    frame = channel.receive()
    sender.join()
    assert bytes(frame.blobs[0]) == blob


def test_large_values_with_many_parts_are_sent_completely(ends):
    channel, node = ends
    parts = [bytes([index % 256]) * (index % 300) for index in range(2000)] + [memoryview(b"x" * 500_000)]
    received = bytearray()

    def read():
        while data := node.recv(1 << 16):
            received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    channel.send(wire.RESULT, 7, {"value": "json"}, parts)
    channel.close()
    reader.join()
    length, kind, call_id = struct.unpack_from("<IBxxxI", received)
    assert (length, kind, call_id) == (len(received) - 12, wire.RESULT, 7)
    assert received.endswith(b"".join(parts))


def test_metadata_is_sent_as_ascii(ends):
    channel, node = ends
    channel.send(wire.RESULT, 7, {"notes": ["é \ud800"]})
    assert b'{"notes":["\\u00e9 \\ud800"]}' in node.recv(1000)


def test_metadata_larger_than_node_accepts_is_not_sent(ends):
    channel, node = ends
    overhead = len('{"notes":""}')
    with pytest.raises(ValueError, match="too large"):
        channel.send(wire.RESULT, 7, {"notes": "x" * (wire.MAX_META - overhead + 1)})
    node.setblocking(False)
    with pytest.raises(BlockingIOError):
        node.recv(1)


def test_a_timeout_that_a_package_has_set_is_removed():
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(0.01)
        Channel(here)
        assert here.gettimeout() is None
