"""Entry point: `python /path/to/tetra_runner/__main__.py`.

Started as a file and not with `-m`, which would first search the job's current directory for the package. The parent
folder of the package is in sys.path only while the runner imports its modules, so that it cannot hide modules of jobs.
"""

import sys

# Modules that the interpreter imports at its start: local modules of a job cannot replace them.
STARTUP_MODULES = frozenset(sys.modules)

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(PACKAGE)
sys.path[:] = [ROOT, *(entry for entry in sys.path if os.path.abspath(entry or ".") != PACKAGE)]

try:
    __import__("cloudpickle")
except ImportError as missing:
    sys.stderr.write(
        f"The package cloudpickle is not installed in {sys.prefix} ({missing}). The worker needs it for arguments and "
        "results.\n"
    )
    sys.exit(3)

# Not a relative import: a file that is run by its path is not part of a package.
from tetra_runner.server import main

sys.path.remove(ROOT)

if __name__ == "__main__":
    main(STARTUP_MODULES)
