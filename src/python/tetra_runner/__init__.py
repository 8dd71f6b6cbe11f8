"""The runner: the Python process of the worker, which runs the code of jobs.

Node starts `__main__.py` with the interpreter of the workspace and sends calls over a socket on descriptor 3. A
process handles many calls, so that imported packages and loaded models stay in memory. It runs them one at a time, or
overlapping if they are jobs of an asynchronous app. The runner has a single thread, so that jobs can fork safely and
a signal always interrupts the code of the job.

    __main__.py          makes this package importable and starts the server
    server.py            the start of the process and the loop over incoming frames
    wire.py              encoding and decoding of frames
    messages.py          the types of their metadata
    calls/               calls: functions, instances, generators, arguments, results, cancelling
    apps/                deployed apps
    overlap/             jobs of an asynchronous app that overlap
    sources.py           the source code of jobs as files
    clients.py           faster imports of the client packages that jobs import
    deferred_flash.py    deferred names of runpod_flash
    local_modules.py     the local modules of a job
    installed_imports.py the installed modules that jobs import
    idle_imports.py      imports of such modules before the first job
    errors.py            error messages and tracebacks
    aio.py               event loops, awaitables and generators
    output.py            standard streams and their descriptors
    process.py           other state of the process, which is restored after each call
    show_value.py        a separate program that prints the repr of a pickle
"""
