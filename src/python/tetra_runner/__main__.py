"""Entry point: `python /path/to/tetra_runner/__main__.py CONFIG`.

Started as a file and not with `-m`, which would search the job's current directory for the package first. For the same
reason the package's folder is importable only while the runner's own modules are imported: afterwards no file in it can
hide a module of a job.
"""

import sys

# Modules that the interpreter itself has imported before any code of a job could name a module like them.
STARTUP_MODULES = frozenset(sys.modules)

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(PACKAGE)
sys.path[:] = [ROOT, *(entry for entry in sys.path if os.path.abspath(entry or ".") != PACKAGE)]

try:
    __import__("cloudpickle")
except ImportError as missing:
    sys.stderr.write(
        "The package cloudpickle, which carries arguments and results, is missing from the Python environment "
        f"{sys.prefix} ({missing}).\n"
    )
    sys.exit(3)

# Not a relative import: a file that is started by its path belongs to no package.
from tetra_runner.server import main

sys.path.remove(ROOT)

if __name__ == "__main__":
    main(STARTUP_MODULES)
