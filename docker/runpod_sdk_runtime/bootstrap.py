"""Starts the worker of queue and api resources: `python -m runpod_sdk_runtime.bootstrap`."""

import os
import sys

PROGRAM = "worker-tetra"


def main() -> None:
    """Replaces this process, so that the worker receives the container's signals."""
    try:
        os.execvp(PROGRAM, [PROGRAM, "start"])
    except OSError as error:
        sys.exit(f"{PROGRAM} can't be started: {error.strerror}. Add its folder to PATH.")


if __name__ == "__main__":
    main()
