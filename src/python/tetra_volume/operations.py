"""The operations by their names in requests."""

from __future__ import annotations

import importlib
from typing import Any, Callable

# Arguments and result are JSON values. Fails with OSError or OperationError.
Operation = Callable[[dict[str, Any]], Any]

# Modules are imported by the first operation that needs them, which keeps the start fast.
OPERATIONS = {
    "archives.complete": "packages.start_archive:complete",
    "archives.link": "packages.archives:link",
    "archives.pack": "packages.archives:pack",
    "archives.pack_start": "packages.start_archive:pack_start",
    "archives.survey": "packages.archives:survey",
    "archives.unpack": "packages.archives:unpack",
    "archives.verify": "packages.verification:verify",
    "bytecode.compile": "packages.bytecode:compile_packages",
    "files.access": "files:access",
    "files.chmod": "files:chmod",
    "files.copy": "files:copy",
    "files.list": "files:list_folder",
    "files.lstat": "files:lstat",
    "files.mkdir": "files:make_folder",
    "files.mkdirs": "files:make_folders",
    "files.mkdtemp": "files:make_temporary",
    "files.probe": "files:probe",
    "files.read": "files:read",
    "files.readlink": "files:read_link",
    "files.realpath": "files:real_path",
    "files.remove": "files:remove",
    "files.remove_all": "removal:remove_all",
    "files.rename": "files:rename",
    "files.size": "sizes:measure",
    "files.stat": "files:stat",
    "files.statfs": "files:statfs",
    "files.symlink": "files:symlink",
    "files.write": "files:write",
    "locks.acquire": "locks:acquire",
    "locks.read": "locks:read",
    "locks.release": "locks:release",
    "locks.touch": "locks:touch",
    "locks.write": "locks:write",
    "models.copy": "models.copies:copy",
    "models.list": "models.view:list_models",
    "models.open": "models.view:open_view",
    "models.refresh": "models.view:refresh",
    "models.touch": "models.view:touch",
    "readahead.mapped": "readahead:mapped",
    "readahead.read": "readahead:read",
    "venv.restore": "packages.installs:restore",
    "venv.verify": "packages.installs:verify",
}


class OperationError(Exception):
    """A failure with its own code, such as INVALID; errors of the system are OSError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def find(name: str) -> Operation:
    target = OPERATIONS.get(name)
    if target is None:
        raise OperationError("ENOSYS", f"there is no operation {name}")
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), function)
