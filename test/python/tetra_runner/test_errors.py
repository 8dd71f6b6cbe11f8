import asyncio
import builtins
import os
import sys
import traceback
import types

import pytest

from tetra_runner import errors
from tetra_runner.errors import ArgumentsError, RequestError, SizeError


def caught(function, *args):
    """Returns the exception that a function raises."""
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised(error):
    """Returns the exception with a traceback."""

    def fail():
        raise error

    return caught(fail)


# --- limits of texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "abc", "é", "x" * 100])
def test_a_text_within_the_limit_is_unchanged(text):
    assert errors.printable(text, 100) == text


def test_lone_surrogates_are_escaped():
    assert errors.printable("a\ud800b", 100) == "a\\ud800b"


@pytest.mark.parametrize("letter", ["x", "é", "\ud800", "💥"])
@pytest.mark.parametrize("length", [101, 199, 201, 10_000])
def test_a_text_above_the_limit_is_shortened_in_its_middle(letter, length):
    short = errors.printable("<" + letter * length + ">", 100)
    assert len(short.encode()) <= 100
    assert short.startswith("<")
    assert short.endswith(">")
    assert "bytes left out" in short


def test_unprintable_characters_of_a_name_are_replaced_and_long_names_are_shortened():
    assert errors.one_line("a\nb\x1b[31m\u202e") == "a?b?[31m?"
    assert errors.one_line("x" * 200) == "x" * 200
    assert errors.one_line("x" * 201) == "x" * 197 + "..."
    assert errors.one_line("abcdef", 5) == "ab..."


def test_a_message_whose_text_fails_is_replaced():
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert errors.safe_message(Odd()) == "<Odd whose message cannot be shown>"


def test_names_of_types_contain_the_module_unless_it_is_main_or_builtins():
    assert errors.type_name(ValueError) == "ValueError"
    assert errors.type_name(type("Job", (), {"__module__": "__main__"})) == "Job"
    assert errors.type_name(RequestError) == "tetra_runner.errors.RequestError"
    assert len(errors.type_name(type("T" * 1000, (), {}))) < 250


# --- the error of a result ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "name", "message"),
    [
        (ValueError("no"), "exception", "ValueError", "no"),
        (SystemExit(3), "exit", "SystemExit", "the code called sys.exit(3)"),
        (SystemExit("why"), "exit", "SystemExit", "the code called sys.exit('why')"),
        (MemoryError(), "memory", "MemoryError", "Python ran out of memory"),
        (MemoryError("of the GPU"), "memory", "MemoryError", "of the GPU"),
        (KeyboardInterrupt(), "exception", "KeyboardInterrupt", ""),
    ],
)
def test_an_exception_has_its_kind_type_and_message(error, kind, name, message):
    meta = errors.describe(raised(error))
    assert (meta["kind"], meta["type"], meta["message"]) == (kind, name, message)
    assert meta["traceback"].startswith("Traceback")


def test_every_exception_of_a_cancelled_call_is_reported_as_cancelled():
    meta = errors.describe(raised(ValueError("cleaning up failed")), cancelled=True)
    assert meta["kind"] == "cancelled"
    assert meta["message"] == "the call was cancelled"
    assert "cleaning up failed" in meta["traceback"]


@pytest.mark.parametrize(
    ("error", "kind"), [(RequestError("no"), "request"), (ArgumentsError("no"), "arguments"), (SizeError("1"), "size")]
)
def test_an_error_that_the_runner_detects_has_no_traceback(error, kind):
    meta = errors.describe(raised(error))
    assert (meta["kind"], meta["traceback"]) == (kind, "")


def test_an_error_that_the_runner_detects_has_the_traceback_of_its_cause():
    error = RequestError("no")
    error.__cause__ = raised(OSError("the disk"))
    assert "OSError: the disk" in errors.describe(error)["traceback"]


def test_the_type_of_error_for_invalid_source_is_syntax_error():
    error = RequestError("no")
    error.__cause__ = caught(compile, "def", "f.py", "exec")
    meta = errors.describe(error)
    assert (meta["kind"], meta["type"]) == ("request", "SyntaxError")
    assert 'File "f.py", line 1' in meta["traceback"]


def test_a_brief_description_runs_no_code_of_the_job():
    class Meta(type):
        def __getattribute__(cls, name):
            raise SystemExit

    error = Meta("Odd", (Exception,), {})()
    meta = errors.describe_briefly(error)
    assert (meta["kind"], meta["type"], meta["message"]) == ("exception", "Odd", "an error that cannot be shown")
    assert errors.describe_briefly(error, cancelled=True)["kind"] == "cancelled"


# --- tracebacks --------------------------------------------------------------------------------------------------


def job(source, path="/jobs/job.py"):
    """A module of a job."""
    main = types.ModuleType("__main__")
    exec(compile(source, path, "exec"), vars(main))
    return main


def frames(text):
    return [line.strip() for line in text.splitlines() if line.startswith("  File ")]


def test_frames_of_the_runner_are_hidden():
    # plain_value is a function of the runner that runs the generator of a job.
    from tetra_runner.aio import plain_value

    generator = job("def f():\n    yield 1\n    raise ValueError\n").f()
    error = caught(plain_value, generator, None, lambda _: None)
    shown = frames(errors.format_trace(error.with_traceback(error.__traceback__.tb_next)))
    assert shown == ['File "/jobs/job.py", line 3, in f']


def test_frames_of_asyncio_are_hidden_before_the_frames_of_the_job_and_shown_after_them():
    main = job("import asyncio\nasync def f():\n    await asyncio.wait_for(asyncio.sleep(1), 0.001)\n")
    error = caught(asyncio.run, main.f())
    shown = frames(errors.format_trace(error.with_traceback(error.__traceback__.tb_next)))
    assert shown[0] == 'File "/jobs/job.py", line 3, in f'
    assert len(shown) > 1


def test_a_traceback_without_frames_of_the_job_has_no_heading():
    assert errors.format_trace(ValueError("no")) == "ValueError: no\n"


def test_a_traceback_shows_the_cause_but_not_a_suppressed_context():
    def fail():
        try:
            raise ValueError("the first")
        except ValueError as error:
            raise KeyError("the second") from (error if shown else None)

    for shown in (True, False):
        assert ("the first" in errors.format_trace(caught(fail))) is shown


def test_only_the_last_exceptions_of_a_long_chain_are_shown():
    error = ValueError()
    for depth in range(100):
        link = ValueError(depth)
        link.__cause__ = error
        error = link
    text = errors.format_trace(error)
    assert text.count("direct cause") < 25
    assert text.endswith("ValueError: 99\n")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups of exceptions came with Python 3.11")
def test_frames_of_the_runner_are_hidden_in_exception_groups_too():
    from tetra_runner.wire import Channel

    inner = caught(Channel(_Broken()).receive)
    assert "wire.py" in "".join(traceback.format_exception(inner))
    assert "wire.py" not in errors.format_trace(builtins.ExceptionGroup("several", [inner]))


class _Broken:
    def settimeout(self, _):
        pass

    def recv_into(self, *_):
        raise OSError

    sendmsg = recv_into


def test_only_the_innermost_frames_of_a_deep_traceback_are_shown():
    main = job("def f(n):\n    return f(n - 1) if n else g()\ndef g():\n    raise ValueError\n")
    shown = errors.format_trace(caught(main.f, 400))
    assert 'File "/jobs/job.py", line 4, in g' in shown
    assert len(frames(shown)) < 250


# --- CUDA --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        type("OutOfMemoryError", (RuntimeError,), {})("no"),
    ],
)
def test_cuda_out_of_memory_is_detected_in_an_exception_and_in_its_context(error):
    outer = ValueError()
    outer.__context__ = error
    assert errors.is_cuda_out_of_memory(error)
    assert errors.is_cuda_out_of_memory(outer)


def test_other_exceptions_are_not_detected_as_cuda_out_of_memory():
    assert not errors.is_cuda_out_of_memory(ValueError("CUDA out of memory"))
    assert not errors.is_cuda_out_of_memory(RuntimeError("out of disk"))


def test_a_chain_of_exceptions_may_be_cyclic():
    error, other = ValueError(), ValueError()
    error.__context__, other.__context__ = other, error
    assert not errors.is_cuda_out_of_memory(error)


def test_an_error_that_breaks_the_cuda_context_is_detected():
    assert errors.broken_cuda(RuntimeError("CUDA error: device-side assert triggered")) == (
        "CUDA error: device-side assert triggered"
    )
    assert errors.broken_cuda(ValueError("no")) is None


class Cuda:
    def __init__(self, initialized, failure=None):
        self._initialized, self._failure = initialized, failure

    def is_initialized(self):
        return self._initialized

    def synchronize(self):
        if self._failure is not None:
            raise self._failure


@pytest.mark.parametrize(
    ("cuda", "broken"),
    [
        (Cuda(True, RuntimeError("it is broken")), "it is broken"),
        (Cuda(True), None),
        (Cuda(False, RuntimeError("it is broken")), None),
    ],
)
def test_after_other_cuda_errors_the_context_is_checked(monkeypatch, cuda, broken):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert errors.broken_cuda(RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")) == broken


def test_the_cuda_context_is_not_checked_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert errors.broken_cuda(RuntimeError("a CUDA error")) is None


def test_frames_of_the_runner_are_detected_by_the_folder_of_the_package():
    assert os.path.dirname(errors.__file__) + os.sep == errors._HERE
