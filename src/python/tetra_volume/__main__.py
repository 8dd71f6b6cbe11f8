"""Entry point: `python -I -S /path/to/tetra_volume/__main__.py '["/runpod-volume"]'`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Not a relative import: a file that is run by its path is not part of a package.
from tetra_volume.server import main

if __name__ == "__main__":
    main(sys.argv[1])
