"""The Python half of the worker: runs the code of jobs.

Node starts `__main__.py` with the interpreter of the workspace and sends it calls over a socket on descriptor 3. One
process serves many calls, one at a time, so that imported packages and loaded models stay in memory between them. The
runner has a single thread: code that forks stays safe, and a signal always reaches the thread that runs the job.

    __main__.py          makes this package importable and starts the server
    server.py            start-up and the loop over incoming frames
    wire.py              the frames
    messages.py          the types of their metadata
    calls/               what a call does: functions, instances, generators, arguments and results, cancelling
    sources.py           the source of jobs as real files
    local_modules.py     the local modules that come with a job
    errors.py            exceptions as text
    aio.py               event loops, awaitables, generators
    output.py            descriptors 1 and 2, the Python streams, the stdio of C
    process.py           the rest of the process's state, and how it is restored after a call
    show_value.py        a program of its own: prints the repr of a pickle
"""
