"""Which installed modules are imported: by jobs, and by the worker while it waits for them."""

from __future__ import annotations

import os
import sys
from typing import Any

_MAX_REPORTED = 64
# Modules of packages that were imported before: the first of them import the others.
_MAX_PARTS = 16
_MAX_NAME = 200
_MAX_FOLDERS = 1024

_namespace_of = object.__getattribute__  # runs no code of a module that is loaded at its first use


def installation_folders() -> tuple[str, ...]:
    """The folders of installed packages: of the virtual environment and of the image, never of user code."""
    return tuple(
        os.path.join(entry, "")
        for entry in sys.path
        if os.path.basename(entry.rstrip(os.sep)) in ("site-packages", "dist-packages")
    )


def is_installed(spec: Any, folders: tuple[str, ...]) -> bool:
    """Whether the file of a module is in these folders; for a package without a file, whether its folder is."""
    try:
        origin = spec.origin
        if isinstance(origin, str):
            return origin.startswith(folders)
        locations = list(spec.submodule_search_locations or ())
        return bool(locations) and all(str(place).startswith(folders) for place in locations)
    except Exception:  # not a spec: jobs can put any object into sys.modules
        return False


def _spec_of(module: object) -> Any:
    try:
        return _namespace_of(module, "__dict__").get("__spec__")
    except Exception:
        return None


class InstalledImports:
    """Finds the installed modules that calls import, without hooks: it compares sys.modules after a call."""

    def __init__(self) -> None:
        self.folders = installation_folders()
        self._modules = sys.modules
        self._known: set[str] = set()
        self._count = 0
        self.skip()

    def skip(self) -> None:
        """Ignores all modules that have been imported so far."""
        self._known.update(self._modules)
        self._count = len(self._modules)

    def take(self) -> list[str]:
        """The names to import in another process for the modules imported since the last call, the last one first.

        A module that imports others ends after them, so it comes first here, and its import will include theirs.
        Only the packages that were not imported before, and further modules of those that were: importing a package
        imports most of its modules. A package without a file, such as `google`, is replaced by its modules.
        """
        if len(self._modules) == self._count:
            return []
        packages: list[str] = []
        parts: list[str] = []
        names: list[Any] = list(self._modules)[::-1]  # a job can add keys that are not strings
        for name in names:
            if isinstance(name, str) and name not in self._known and len(name) <= _MAX_NAME and self._is_first(name):
                (parts if "." in name else packages).append(name)
        self.skip()
        return [*packages, *parts[:_MAX_PARTS]][:_MAX_REPORTED]

    def module_folders(self) -> list[str]:
        """The folders that imported modules of the virtual environment are in, relative to it."""
        prefix = os.path.join(sys.prefix, "")
        folders: set[str] = set()
        for module in list(self._modules.values()):
            spec = _spec_of(module)
            if is_installed(spec, self.folders) and isinstance(spec.origin, str) and spec.origin.startswith(prefix):
                folders.add(os.path.dirname(spec.origin)[len(prefix) :])
        return sorted(folders)[:_MAX_FOLDERS]

    def _is_first(self, name: str) -> bool:
        spec = _spec_of(self._modules.get(name))
        if not isinstance(getattr(spec, "origin", None), str) or not is_installed(spec, self.folders):
            return False
        parent = name.rpartition(".")[0]
        while parent and parent not in self._known:
            if getattr(_spec_of(self._modules.get(parent)), "origin", None) is not None:
                return False
            parent = parent.rpartition(".")[0]
        return True
