import contextvars
import os
import threading
from unittest.mock import Mock

import pytest

from forks import RETURNED, status_of
from tetra_runner import attribution, wire
from tetra_runner.attribution import CallOutput, JobStream
from tetra_runner.shared_channel import SharedChannel


@pytest.fixture
def wrapped():
    return Mock()


@pytest.fixture
def sent(wrapped):
    """Returns and removes the texts that were sent."""

    def sent():
        texts = [call.args[2]["text"] for call in wrapped.send.call_args_list]
        assert all(call.args[:2] == (wire.OUTPUT, 7) for call in wrapped.send.call_args_list)
        wrapped.send.reset_mock()
        return texts

    return sent


@pytest.fixture
def output(wrapped):
    return CallOutput(SharedChannel(wrapped), 7)


def test_whole_lines_are_sent_at_once_and_the_rest_at_a_flush_or_at_the_end(output, sent):
    for text, expected in [("a", []), ("b\nc", ["ab\n"]), ("", []), ("d\n\n", ["cd\n\n"]), ("e", []), ("f", [])]:
        assert output.write(1, text)
        assert sent() == expected
    output.flush(1)
    assert sent() == ["ef"]
    assert output.write(1, "g")
    assert output.write(2, "h")
    output.close()
    assert sent() == ["g", "h"]


def test_text_after_the_end_of_the_call_is_not_accepted(output, sent):
    output.close()
    assert not output.write(1, "late\n")
    assert sent() == []


def test_long_text_is_sent_in_parts_and_does_not_wait_for_a_line_end(output, sent):
    assert output.write(1, "x" * 150_000)
    assert [len(text) for text in sent()] == [65536, 65536, 18928]


def test_characters_that_are_not_unicode_are_escaped(output, sent):
    assert output.write(1, "\ud800é\n")
    assert sent() == ["\\ud800é\n"]


def test_a_closed_control_socket_does_not_make_prints_fail(output, wrapped):
    wrapped.send.side_effect = OSError
    assert output.write(1, "text\n")


@pytest.fixture
def stream():
    """A stream, and a function that returns what it wrote to its descriptor."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    stream = JobStream(writer)

    def written():
        try:
            return os.read(reader, 1 << 16).decode()
        except BlockingIOError:
            return ""

    yield stream, written
    os.close(writer)
    os.close(reader)


@pytest.fixture
def call(output):
    """A context in which the call runs; its streams have any descriptor."""
    output._partial = dict.fromkeys(range(100), "")
    context = contextvars.copy_context()
    context.run(attribution.current.set, output)
    return context


def test_a_stream_sends_text_of_a_call_and_writes_all_other_text(stream, call, sent):
    file, written = stream
    print("before", file=file)
    call.run(print, "of the call", "\n", end="", file=file)
    call.run(file.writelines, ["two\n", "lines\n"])
    print("after", file=file)
    assert written() == "before\nafter\n"
    assert "".join(sent()) == "of the call \ntwo\nlines\n"


def test_a_flush_sends_an_unfinished_line(stream, call, sent):
    file, written = stream
    call.run(print, "...", end="", flush=True, file=file)
    assert (sent(), written()) == (["..."], "")


def test_text_after_the_call_is_written_to_the_descriptor(stream, call, output):
    file, written = stream
    output.close()
    call.run(print, "late", file=file)
    assert written() == "late\n"


def test_a_stream_rejects_values_that_are_not_text(stream, call):
    with pytest.raises(TypeError):
        call.run(stream[0].write, b"bytes")


def test_threads_of_a_call_can_print_at_the_same_time(stream, call, sent):
    file, _ = stream
    start = threading.Barrier(4)

    def print_many(number):
        start.wait()
        for _ in range(100):
            print(number, "line", file=file)

    threads = [threading.Thread(target=call.copy().run, args=(print_many, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = "".join(sent()).splitlines()
    assert len(lines) == 400
    # Pieces of lines of threads may be mixed, as on any stream, but none is lost.
    assert sorted("".join(lines)) == sorted("0 line1 line2 line3 line" * 100)


def test_text_of_a_forked_child_is_written_to_the_descriptor(stream, call, wrapped, output):
    file, written = stream

    def child():
        output._channel.close()  # as the runner does after a fork
        call.run(print, "child", file=file)

    assert status_of(child) == RETURNED
    assert written() == "child\n"
    wrapped.send.assert_not_called()
