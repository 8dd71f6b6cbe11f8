"""A resource whose module imports a package that is not in the artifact."""

import os

from runpod_flash import Endpoint

# The client imports the module too, on a machine that has no such package.
if "FLASH_RESOURCE_NAME" in os.environ:
    import tetra_missing


@Endpoint(name="incomplete", cpu="cpu3c-1-2")
def incomplete():
    return tetra_missing.NAME
