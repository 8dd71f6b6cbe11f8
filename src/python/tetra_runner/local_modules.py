"""The local modules of a job, written to files: tracebacks, inspect.getsource and multiprocessing's spawn read them."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

from .errors import RequestError

try:
    from _blake2 import blake2b as _blake2b
except ImportError:
    from hashlib import blake2b as _blake2b  # loads OpenSSL, which takes 5 % of the start-up time

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterable

    from .messages import Buffer

    InUse = Callable[["LocalModules"], bool]


def digest_of(parts: Iterable[str | Buffer]) -> str:
    """A hash of a sequence of strings and bytes."""
    digest = _blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


class LocalModules:
    """A set of local modules: a folder that is in sys.path only during the calls that use it."""

    def __init__(self, folder: str, top_names: frozenset[str]) -> None:
        self.folder = folder
        self._prefix = folder + os.sep
        self._top_names = top_names
        # Modules imported from the folder, while it is not active.
        self._own: dict[str, types.ModuleType] = {}
        # Other modules with the same names, while it is active.
        self._hidden: dict[str, types.ModuleType] = {}
        self._before: frozenset[str] = frozenset()

    def activate(self) -> None:
        modules = sys.modules
        for name in list(modules) if self._top_names else ():
            if name.partition(".")[0] in self._top_names:
                self._hidden[name] = modules.pop(name)
        self._before = frozenset(modules)
        modules.update(self._own)
        sys.path.insert(0, self.folder)

    def deactivate(self) -> None:
        modules = sys.modules
        new = [name for name in list(modules) if name not in self._before and name != "__main__"]
        # In two passes, because the path of a package without __init__.py depends on sys.path and its parent package.
        own = [name for name in new if self._owns(modules[name])]
        self._own = {name: modules.pop(name) for name in own}
        while self.folder in sys.path:
            sys.path.remove(self.folder)
        modules.update(self._hidden)
        self._hidden = {}

    def _owns(self, module: types.ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            return file.startswith(self._prefix)
        try:
            return any(str(part).startswith(self._prefix) for part in getattr(module, "__path__", ()))
        except Exception:  # an arbitrary object in sys.modules
            return False


class ModuleStore:
    """The most recently used sets of local modules, by their content."""

    def __init__(self, directory: str, startup_modules: frozenset[str], cwd: str, limit: int = 16) -> None:
        self._directory = directory
        self._startup_modules = startup_modules | frozenset(sys.builtin_module_names)
        self._cwd = cwd
        self._limit = limit
        self._known: OrderedDict[str, LocalModules] = OrderedDict()

    def get(self, files: dict[str, str], in_use: InUse, notes: list[str]) -> LocalModules | None:
        """Returns the set for {path: source}, and writes it to disk if it is new; None if there are no files."""
        if not files:
            return None
        parts: list[str] = []
        for path in sorted(files):
            _check_path(path, files[path])
            parts += (path, files[path])
        key = digest_of(parts)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        new = self._known[key] = self._write(os.path.join(self._directory, key), files, notes)
        if len(self._known) > self._limit:
            oldest = next((k for k, old in self._known.items() if old is not new and not in_use(old)), None)
            if oldest is not None:
                folder = self._known.pop(oldest).folder
                sys.path_importer_cache.pop(folder, None)
                shutil.rmtree(folder, ignore_errors=True)
        return new

    def _write(self, folder: str, files: dict[str, str], notes: list[str]) -> LocalModules:
        path = ""
        try:
            for path, text in files.items():
                target = os.path.join(folder, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "w", encoding="utf-8", newline="") as file:
                    file.write(text)
        except (OSError, UnicodeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RequestError(f"the local module {path!r} could not be written: {error}") from error
        # A folder without __init__.py hides nothing, because Python prefers a regular package anywhere in sys.path.
        tops = {path[:-3] for path in files if "/" not in path}
        tops |= {path.partition("/")[0] for path in files if path.count("/") == 1 and path.endswith("/__init__.py")}
        for name in sorted(tops):
            self._note_shadowed(name, notes)
        return LocalModules(folder, frozenset(tops) - self._startup_modules)

    def _note_shadowed(self, name: str, notes: list[str]) -> None:
        if name in self._startup_modules:
            notes.append(f"The local module {name!r} is ignored: Python has already loaded a module with this name.")
        elif name in getattr(sys, "stdlib_module_names", ()):
            notes.append(f"The local module {name!r} hides the standard library module with this name.")
        else:
            places = [entry for entry in sys.path if entry not in ("", self._cwd)]
            try:
                installed = importlib.machinery.PathFinder.find_spec(name, places)
            except Exception:  # raised by an import hook of a package; the note is optional
                return
            if installed is not None and installed.origin is not None:
                notes.append(f"The local module {name!r} hides the installed package with this name.")


def _check_path(path: str, text: object) -> None:
    """Rejects a path that is outside of the folder or cannot be imported."""
    parts = path.split("/")
    if (
        not path.endswith(".py")
        or any(part in ("", ".", "..") for part in parts)
        or "\\" in path
        or any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in path)
        or not isinstance(text, str)
    ):
        raise RequestError(
            f"the local module {path!r} is invalid: it must be text, and its path must be relative with forward "
            "slashes, stay in its folder and end in .py"
        )
