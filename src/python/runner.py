"""Runs the code of jobs: the Python half of the worker.

Node starts this file once with the interpreter of the workspace and then sends it calls over a socket on
descriptor 3. One process serves many calls, one at a time, so that imported packages and loaded models stay
in memory between them. There is one thread only: code that forks stays safe, and a signal always finds the
thread that runs the job.

    runner.py            start-up and the loop over incoming frames
    runner_wire.py       the frames
    runner_output.py     descriptors 1 and 2, the Python streams, the stdio of C
    runner_process.py    the rest of the process's state, and how it is put back after a call
    runner_sources.py    the source of jobs and their local modules as real files
    runner_values.py     arguments in, results out
    runner_errors.py     exceptions as text
    runner_async.py      event loops, awaitables, generators
    runner_calls.py      what a call does, instances, cancelling
"""

import sys

# Names that the interpreter itself has imported before any code of a job could name a module like them.
STARTUP_MODULES = frozenset(sys.modules)

import json
import os
import socket

# This folder must not stay importable: a file in it could hide a module of the job, or be hidden by one.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [HERE] + [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]

try:
    import cloudpickle
except ImportError as missing:
    sys.stderr.write(
        "The package cloudpickle, which carries arguments and results, is missing from the Python environment "
        "%s (%s).\n" % (sys.prefix, missing)
    )
    sys.exit(3)

import runner_async
import runner_calls
import runner_output
import runner_process
import runner_wire

sys.path.remove(HERE)

CONTROL_FD = 3
PROTOCOL_BROKEN = 70


def ready_meta():
    return {
        "pid": os.getpid(),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "prefix": sys.prefix,
        "executable": sys.executable,
        "cloudpickle": cloudpickle.__version__,
        "value": None,
    }


def serve(channel, worker):
    """Answers frames until Node says goodbye; returns the status to exit with."""
    while True:
        try:
            frame = channel.receive()
        except (OSError, ValueError):
            # A job closed or replaced the control descriptor, or what comes is no frame: there is nobody to tell.
            return PROTOCOL_BROKEN
        if frame is None or frame.kind == runner_wire.BYE:
            return 0
        meta, value = worker.call(frame)
        try:
            channel.send(runner_wire.RESULT, frame.call_id, meta, value)
        except (OSError, ValueError):
            return PROTOCOL_BROKEN
        del frame, meta, value  # memory of a job that nothing should hold while the next one is waited for
        worker.repair()


def start(config):
    """Everything up to READY."""
    high_fd = runner_process.high_descriptor_base()
    control = runner_process.move_descriptor(CONTROL_FD, high_fd)
    runner_process.die_with_parent(config["parent"])
    os.makedirs(config["cwd"], exist_ok=True)
    os.chdir(config["cwd"])
    sys.path.append(config["cwd"])  # last: a file of the workspace never hides an installed package

    channel = runner_wire.Channel(socket.socket(fileno=control))
    output = runner_output.Output(config["dir"], high_fd)
    gate = runner_process.CancelGate(runner_async.cancel_softly)
    state = runner_process.ProcessState(config["cwd"], gate)
    worker = runner_calls.Worker(config, channel, output, gate, state, STARTUP_MODULES)
    runner_process.prepare_for_forks([channel, output])
    channel.send(runner_wire.READY, 0, ready_meta())
    return channel, output, worker


def main():
    config = json.loads(sys.argv[1])
    sys.argv[:] = [""]
    boot_stderr = os.dup(2)
    try:
        channel, output, worker = start(config)
    except BaseException:
        # Node reads the FIFO only after READY; what went wrong before has to go where it looks until then.
        os.dup2(boot_stderr, 2)
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)
        raise
    os.close(boot_stderr)
    status = serve(channel, worker)
    output.flush()
    runner_process.exit_now(status)


if __name__ == "__main__":
    main()
