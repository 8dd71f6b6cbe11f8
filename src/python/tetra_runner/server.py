"""The start of the process, and the loop over incoming frames."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import cloudpickle

from . import aio, model_use, process, wire
from .calls.cancel import CancelGate
from .calls.worker import Worker
from .output import Output, open_stream

if TYPE_CHECKING:
    import io

    from .messages import ReadyMeta

CONTROL_FD = 3


def ready_meta() -> ReadyMeta:
    major, minor, micro = sys.version_info[:3]
    return {
        "pid": os.getpid(),
        "python": f"{major}.{minor}.{micro}",
        "prefix": sys.prefix,
        "executable": sys.executable,
        "cloudpickle": cloudpickle.__version__,
        "value": None,
    }


def _job_stream(fd: int) -> io.TextIOWrapper:
    from .overlap.attribution import JobStream

    return JobStream(fd)


def serve(channel: wire.Channel, worker: Worker) -> int:
    """Executes calls until Node sends BYE or closes the socket; returns the exit status."""
    while True:
        try:
            frame = channel.receive()
        except (OSError, ValueError):
            # A job closed or replaced the control descriptor, or the bytes are not a frame: a result cannot be sent.
            return wire.PROTOCOL_BROKEN
        if frame is None:
            return 0
        if isinstance(frame, wire.Cancel):
            continue  # calls that do not overlap are cancelled by SIGINT
        if isinstance(frame, wire.Imports):
            try:
                worker.import_while_idle(channel, frame.meta)
            except (OSError, ValueError):
                return wire.PROTOCOL_BROKEN
            continue
        if frame.meta.get("overlaps"):
            return worker.overlap(channel).run(frame)
        meta, value = worker.call(frame)
        try:
            channel.send(wire.RESULT, frame.call_id, meta, value)
            del frame, meta, value  # so that the memory is free while the runner waits for the next call
            worker.repair()
            imported = worker.imported()
            if imported is not None:
                channel.send(wire.IMPORTED, 0, imported)
        except (OSError, ValueError):
            return wire.PROTOCOL_BROKEN


def add_app_path(path: list[str]) -> None:
    """Makes an app's own modules and packages come first, in this process and in its child processes."""
    sys.path[:0] = path
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*path, *([inherited] if inherited else [])])


def start(startup_modules: frozenset[str]) -> tuple[wire.Channel, Output, Worker]:
    """Waits for the configuration, prepares the process and sends READY."""
    high_fd = process.high_descriptor_base()
    control = process.move_descriptor(CONTROL_FD, high_fd)
    channel = wire.Channel(socket.socket(fileno=control))
    config = channel.receive_config()
    if config is None:
        process.exit_now(0)
    process.die_with_parent(config["parent"])
    cwd = config["cwd"]
    os.makedirs(cwd, exist_ok=True)
    os.chdir(cwd)
    app = config.get("app")
    if app is None:
        sys.path.append(cwd)  # last, so that a file of the workspace never hides an installed package
    else:
        add_app_path(app["path"])

    output = Output(config["dir"], high_fd, open_stream if app is None else _job_stream)
    gate = CancelGate(aio.cancel_task)
    state = process.ProcessState(cwd, gate)
    worker = Worker(config, channel, output, gate, state, startup_modules)
    process.prepare_for_forks([channel, output])
    channel.send(wire.READY, 0, ready_meta())
    return channel, output, worker


def main(startup_modules: frozenset[str]) -> None:
    sys.argv[:] = [""]
    if model_use.FOLDER in os.environ:
        model_use.record_models()
    boot_stderr = os.dup(2)
    try:
        channel, output, worker = start(startup_modules)
    except BaseException:
        # Node reads the FIFO only after READY, so errors are written to the original stderr.
        os.dup2(boot_stderr, 2)
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)
        raise
    os.close(boot_stderr)
    status = serve(channel, worker)
    output.flush()
    process.exit_now(status)
