import contextvars
import os
import threading
from unittest.mock import Mock

import pytest

from forks import RETURNED, status_of
from tetra_runner import wire
from tetra_runner.overlap import attribution
from tetra_runner.overlap.attribution import CallOutput, JobStream
from tetra_runner.overlap.shared_channel import SharedChannel


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
def call_output(wrapped):
    return CallOutput(SharedChannel(wrapped), 7)


def test_whole_lines_are_sent_at_once_and_the_rest_at_a_flush_or_at_the_end(call_output, sent):
    for text, expected in [("a", []), ("b\nc", ["ab\n"]), ("", []), ("d\n\n", ["cd\n\n"]), ("e", []), ("f", [])]:
        assert call_output.write(1, text)
        assert sent() == expected
    call_output.flush(1)
    assert sent() == ["ef"]
    assert call_output.write(1, "g")
    assert call_output.write(2, "h")
    call_output.close()
    assert sent() == ["g", "h"]


def test_text_after_the_end_of_the_call_is_not_accepted(call_output, sent):
    call_output.close()
    assert not call_output.write(1, "late\n")
    assert sent() == []


def test_text_of_a_thread_is_not_sent_after_the_result(call_output, sent):
    class Lock:
        """The call ends when the thread has released the lock, and before it sends."""

        def __enter__(self):
            pass

        def __exit__(self, *_):
            call_output._lock = threading.RLock()
            call_output.close()

    call_output._lock = Lock()
    assert not call_output.write(1, "late\n")
    assert sent() == []


def test_long_text_is_sent_in_parts_and_does_not_wait_for_a_line_end(call_output, sent):
    assert call_output.write(1, "x" * 150_000)
    assert [len(text) for text in sent()] == [65536, 65536, 18928]


def test_characters_that_are_not_unicode_are_escaped(call_output, sent):
    assert call_output.write(1, "\ud800é\n")
    assert sent() == ["\\ud800é\n"]


def test_a_closed_control_socket_does_not_make_prints_fail(call_output, wrapped):
    wrapped.send.side_effect = OSError
    assert call_output.write(1, "text\n")


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
def job_context(call_output):
    """A context in which the call runs; its streams have any descriptor."""
    call_output._partial = dict.fromkeys(range(100), "")
    job_context = contextvars.copy_context()
    job_context.run(attribution.current.set, call_output)
    return job_context


def test_a_stream_sends_text_of_a_call_and_writes_all_other_text(stream, job_context, sent):
    file, written = stream
    print("before", file=file)
    job_context.run(print, "of the call", "\n", end="", file=file)
    job_context.run(file.writelines, ["two\n", "lines\n"])
    print("after", file=file)
    assert written() == "before\nafter\n"
    assert "".join(sent()) == "of the call \ntwo\nlines\n"


def test_a_flush_sends_an_unfinished_line(stream, job_context, sent):
    file, written = stream
    job_context.run(print, "...", end="", flush=True, file=file)
    assert (sent(), written()) == (["..."], "")


def test_text_after_the_call_is_written_to_the_descriptor(stream, job_context, call_output):
    file, written = stream
    call_output.close()
    job_context.run(print, "late", file=file)
    assert written() == "late\n"


def test_a_stream_rejects_values_that_are_not_text(stream, job_context):
    with pytest.raises(TypeError):
        job_context.run(stream[0].write, b"bytes")


def test_threads_of_a_call_can_print_at_the_same_time(stream, job_context, sent):
    file, _ = stream
    start = threading.Barrier(4)

    def print_many(number):
        start.wait()
        for _ in range(100):
            print(number, "line", file=file)

    threads = [threading.Thread(target=job_context.copy().run, args=(print_many, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = "".join(sent()).splitlines()
    assert len(lines) == 400
    # Pieces of lines of threads may be mixed, as on any stream, but none is lost.
    assert sorted("".join(lines)) == sorted("0 line1 line2 line3 line" * 100)


def test_text_of_a_forked_child_is_written_to_the_descriptor(stream, job_context, wrapped, call_output):
    file, written = stream

    def child():
        call_output._channel.close()  # as the runner does after a fork
        job_context.run(print, "child", file=file)

    assert status_of(child) == RETURNED
    assert written() == "child\n"
    wrapped.send.assert_not_called()
