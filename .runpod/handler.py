"""The Hub requires this file. The jobs are handled by worker-tetra, which the image starts."""

import os

if __name__ == "__main__":
    os.execvp("worker-tetra", ["worker-tetra", "start"])
