"""These tests run in forked children, because Output replaces descriptors 0, 1 and 2."""

import ctypes
import faulthandler
import fcntl
import os
import subprocess
import sys
import time
from functools import wraps

import pytest

from forks import in_child
from tetra_runner.output import Output

HIGH = 200


class Reader:
    """Reads FIFOs as Node does, which unlinks them after opening them."""

    def __init__(self, folder):
        self._folder = folder
        self._count = 0
        self.attach()

    def attach(self):
        self._count += 1
        path = os.path.join(self._folder, f"output-{self._count}")
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.unlink(path)

    def text(self):
        data = b""
        while True:
            try:
                piece = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return data.decode()
            if not piece:
                return data.decode()
            data += piece


def with_output(test):
    """Runs a test in a child with an Output and a reader of its FIFO."""

    @wraps(test)
    def run(tmp_path):
        for name in ("stdout", "stderr", "stdin"):  # pytest replaces them with objects that are not files
            setattr(sys, name, getattr(sys, f"__{name}__"))
        problem = os.dup(2)
        output = Output(str(tmp_path), HIGH)
        try:
            test(output, Reader(str(tmp_path)))
        except BaseException:
            os.dup2(problem, 2)
            raise

    # Hides the arguments of the test from pytest, which would treat them as fixtures.
    del run.__wrapped__
    return in_child(run)


@with_output
def test_output_of_all_kinds_arrives_in_order(output, reader):
    print("one")
    print("two", file=sys.stderr)
    os.write(1, b"three\n")
    os.write(2, b"four\n")
    subprocess.run("echo five; echo six >&2; echo seven > /dev/stdout", shell=True, check=True)
    ctypes.CDLL(None).puts(b"eight")
    print("nine", end="")
    output.restore()
    assert reader.text().split() == ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@with_output
def test_characters_that_cannot_be_encoded_are_escaped(output, reader):
    print("é \ud800")
    output.restore()
    assert reader.text() == "é \\ud800\n"


@with_output
def test_streams_have_the_usual_names_and_stdin_is_empty(output, reader):
    assert (sys.stdout.name, sys.stderr.name) == ("<stdout>", "<stderr>")
    output.restore()
    assert sys.stdin.read() == ""


@with_output
def test_unread_bytes_are_counted(output, reader):
    assert output.pending() == 0
    os.write(1, b"12345")
    assert output.pending() == 5
    reader.text()
    assert output.pending() == 0
    os.close(output._reader)
    assert output.pending() == -1


def is_the_output(fd, reader, output):
    reader.text()
    os.write(fd, b"here")
    return reader.text() == "here"


@with_output
def test_descriptors_that_a_job_has_closed_or_redirected_are_restored(output, reader):
    os.close(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(0)
    output.restore()
    assert is_the_output(1, reader, output)
    assert is_the_output(2, reader, output)
    assert os.read(0, 1) == b""


@with_output
def test_another_file_as_standard_input_is_replaced(output, reader):
    readable, writable = os.pipe()
    os.write(writable, b"text")
    os.dup2(readable, 0)
    output.restore()
    assert os.read(0, 1) == b""


@with_output
def test_descriptors_that_a_child_process_made_non_blocking_are_blocking_again(output, reader):
    os.set_blocking(1, False)
    output.restore()
    assert os.get_blocking(1)


@with_output
def test_streams_that_a_job_has_replaced_are_flushed_and_restored(output, reader):
    replaced = os.fdopen(os.dup(1), "w")
    replaced.write("kept")
    sys.stdout = replaced
    sys.stderr = None
    output.restore()
    print("new")
    print("err", file=sys.stderr)
    output.restore()
    assert reader.text() == "keptnew\nerr\n"
    assert sys.stdout is sys.__stdout__


@with_output
def test_streams_that_a_job_has_closed_or_detached_are_recreated(output, reader):
    sys.stdout.close()
    output.restore()
    print("one")
    sys.stderr.detach()
    output.restore()
    print("two", file=sys.stderr)
    sys.stdin.close()
    output.restore()
    assert sys.stdin.read() == ""
    assert reader.text() == "one\ntwo\n"


@with_output
def test_the_fault_handler_is_enabled_again_and_its_timer_is_off(output, reader):
    faulthandler.disable()
    faulthandler.dump_traceback_later(0.05)
    output.restore()
    assert faulthandler.is_enabled()
    time.sleep(0.1)  # longer than the timer
    assert reader.text() == ""


@with_output
def test_the_fifo_is_kept_without_a_child_process(output, reader):
    assert not output.replace_if_shared()
    print("text")
    assert reader.text() == "text\n"


@with_output
def test_the_fifo_is_kept_after_a_child_process_has_exited(output, reader):
    for _ in range(3):
        subprocess.run("true", check=True)
        assert not output.replace_if_shared()
        print("text")
        assert reader.text() == "text\n"
        assert os.get_blocking(1)


@with_output
def test_the_fifo_is_replaced_while_a_child_process_still_runs(output, reader):
    child = subprocess.Popen("read line; echo late", shell=True, stdin=subprocess.PIPE)
    assert output.replace_if_shared()
    old = reader._fd
    reader.attach()
    print("text")
    child.communicate(b"go\n")
    assert reader.text() == "text\n"
    assert os.read(old, 100) == b"late\n"
    assert not output.replace_if_shared()


@with_output
def test_programs_of_a_job_do_not_inherit_the_descriptors_of_the_runner(output, reader):
    for fd in (output._null, output._reader, output._main, output._spare):
        assert fd >= HIGH
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


@with_output
def test_the_lock_of_a_fifo_cannot_be_acquired_while_another_description_has_it(output, reader):
    output._move(os.open(f"/proc/self/fd/{output._reader}", os.O_WRONLY), output._spare)
    assert not output._lock(output._spare)


@with_output
def test_a_forked_child_closes_all_but_the_standard_descriptors(output, reader):
    output.close()
    for fd in (output._null, output._reader, output._main, output._spare):
        with pytest.raises(OSError):
            os.fstat(fd)
    output.close()  # descriptors that a job has closed are ignored
    os.fstat(1)


@with_output
def test_streams_that_cannot_be_flushed_are_ignored(output, reader):
    sys.stdout = None
    sys.stderr.write("text")
    output.flush()
    assert reader.text() == "text"


@with_output
def test_redirected_output_of_python_c_and_child_processes_is_returned_and_not_sent_to_node(output, reader):
    libc = ctypes.CDLL(None)
    with output.redirected() as text:
        print("python")
        libc.puts(b"c")
        subprocess.run(["echo", "child"], check=True)
    assert sorted(text().split()) == ["c", "child", "python"]
    print("after")
    output.restore()
    assert reader.text() == "after\n"


@with_output
def test_the_end_of_a_redirection_by_an_error_restores_the_output(output, reader):
    with pytest.raises(ValueError), output.redirected():
        print("lost")
        raise ValueError
    print("after")
    output.restore()
    assert reader.text() == "after\n"
