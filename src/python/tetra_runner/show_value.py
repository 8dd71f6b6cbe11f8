"""Prints the repr of a pickle from standard input, in a separate process without secrets.

Loading a pickle can run any code, so the worker does it only on request. Descriptors 1 and 2 are redirected to
/dev/null while it is loaded, because output of that code is not the value.
"""

from __future__ import annotations

import os
import resource
import sys


def main() -> None:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    blob = sys.stdin.buffer.read()
    try:
        import cloudpickle

        text = repr(cloudpickle.loads(blob))
    except BaseException as error:
        text = f"it can't be loaded here: {type(error).__name__}: {error}"
        status = 1
    else:
        status = 0
    output.write(text[:limit] + (" …" if len(text) > limit else ""))
    output.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
