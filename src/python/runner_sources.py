"""The source of jobs, and the local modules that come with it, as real files.

Real files, as tracebacks, inspect.getsource and multiprocessing's spawn all read them again.
"""

import builtins
import hashlib
import importlib.machinery
import linecache
import os
import shutil
import sys
import types
from collections import OrderedDict

from runner_errors import RequestError

_blake2b = hashlib.blake2b


class Source:
    """One text of source, compiled, in a file of its own."""

    __slots__ = ("text", "path", "code")

    def __init__(self, text, path, code):
        self.text = text
        self.path = path
        self.code = code

    def new_main(self):
        """A module `__main__` for one run of the source.

        That name, as cloudpickle sends classes of `__main__` whole, so that a client that never saw them can load
        them, and as the children of multiprocessing look for the job's functions there.
        """
        main = types.ModuleType("__main__")
        main.__file__ = self.path
        main.__builtins__ = builtins
        return main


class Sources:
    """The sources used last, by their text."""

    def __init__(self, directory, limit=64):
        self._directory = directory
        self._limit = limit
        self._count = 0
        self._known = OrderedDict()

    def get(self, text, name, in_use):
        """The compiled source. `in_use(source)` tells which ones must stay."""
        source = self._known.get(text)
        if source is not None:
            self._known.move_to_end(text)
            return source
        source = self._add(text, name)
        self._known[text] = source
        if len(self._known) > self._limit:
            unused = (key for key, old in self._known.items() if old is not source and not in_use(old))
            oldest = next(unused, None)
            if oldest is not None:
                self._remove(self._known.pop(oldest))
        return source

    def _add(self, text, name):
        self._count += 1
        stem = name if name.isidentifier() and name.isascii() and len(name) <= 100 else "job"
        path = os.path.join(self._directory, str(self._count), stem + ".py")
        try:
            code = compile(text, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise RequestError("%s: %s" % (type(error).__name__, error)) from error
        # No modification time: the entry stays valid whatever becomes of the file.
        linecache.cache[path] = (len(text), None, text.splitlines(True), path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError:
            pass  # a full disk: the code runs all the same, and tracebacks have the lines from linecache
        return Source(text, path, code)

    def _remove(self, source):
        linecache.cache.pop(source.path, None)
        shutil.rmtree(os.path.dirname(source.path), ignore_errors=True)


def mend_imports():
    """After a cancelled call: forgets the remains of imports that were cut short.

    A package whose import fails is taken out of sys.modules, but not the modules below it, and with those in place
    the next import of it can fail. Returns the name of such a module if it is a compiled one, as those cannot be
    loaded a second time in most cases; else None.
    """
    compiled = None
    while True:
        remains = [
            name
            for name in list(sys.modules)
            if isinstance(name, str) and "." in name and name.rpartition(".")[0] not in sys.modules
        ]
        if not remains:
            return compiled
        for name in remains:
            module = sys.modules.pop(name)
            if isinstance(getattr(module, "__loader__", None), importlib.machinery.ExtensionFileLoader):
                compiled = name


def defined_names(main):
    """What the source defines, for messages about a name that is not among it."""
    names = [
        name
        for name, value in vars(main).items()
        if callable(value) and getattr(value, "__module__", None) == "__main__"
    ]
    return ", ".join(names) or "nothing"


class LocalModules:
    """A set of local modules of a job: a folder that is importable only while calls that brought it run."""

    def __init__(self, folder, top_names):
        self.folder = folder
        self._prefix = folder + os.sep
        self._top_names = top_names
        self._own = {}  # modules imported from the folder, by name, while no call uses them
        self._hidden = {}  # modules of the process that this set stands in front of, while a call uses it
        self._before = frozenset()

    def enter(self):
        modules = sys.modules
        for name in list(modules) if self._top_names else ():
            if name.partition(".")[0] in self._top_names:
                self._hidden[name] = modules.pop(name)
        self._before = frozenset(modules)
        modules.update(self._own)
        sys.path.insert(0, self.folder)

    def leave(self):
        modules = sys.modules
        new = [name for name in list(modules) if name not in self._before and name != "__main__"]
        # Looked at first and removed then: the path of a package without __init__.py follows sys.path and its parent.
        own = [name for name in new if self._owns(modules[name])]
        self._own = {name: modules.pop(name) for name in own}
        while self.folder in sys.path:
            sys.path.remove(self.folder)
        modules.update(self._hidden)
        self._hidden = {}

    def _owns(self, module):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            return file.startswith(self._prefix)
        try:
            return any(str(part).startswith(self._prefix) for part in getattr(module, "__path__", ()))
        except Exception:  # an odd object in sys.modules
            return False


class ModuleStore:
    """The sets of local modules used last, by their content."""

    def __init__(self, directory, startup_modules, cwd, limit=16):
        self._directory = directory
        self._startup_modules = startup_modules | frozenset(sys.builtin_module_names)
        self._cwd = cwd
        self._limit = limit
        self._known = OrderedDict()

    def get(self, files, in_use, notes):
        """The set for {path: source}, written down when it is new; None when there are no files."""
        if not files:
            return None
        digest = _blake2b(digest_size=16)
        for path in sorted(files):
            _check_path(path, files[path])
            for part in (path, files[path]):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(data))
                digest.update(data)
        key = digest.hexdigest()
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        made = self._known[key] = self._write(os.path.join(self._directory, key), files, notes)
        if len(self._known) > self._limit:
            oldest = next((k for k, old in self._known.items() if old is not made and not in_use(old)), None)
            if oldest is not None:
                folder = self._known.pop(oldest).folder
                sys.path_importer_cache.pop(folder, None)
                shutil.rmtree(folder, ignore_errors=True)
        return made

    def _write(self, folder, files, notes):
        try:
            for path, text in files.items():
                target = os.path.join(folder, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "w", encoding="utf-8", newline="") as file:
                    file.write(text)
        except (OSError, UnicodeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RequestError("the local module %r could not be written: %s" % (path, error)) from error
        # A folder without __init__.py hides nothing: Python prefers a real package of its name anywhere on the path.
        tops = {path[:-3] for path in files if "/" not in path}
        tops |= {path.partition("/")[0] for path in files if path.count("/") == 1 and path.endswith("/__init__.py")}
        for name in sorted(tops):
            self._note_shadowed(name, notes)
        return LocalModules(folder, frozenset(tops) - self._startup_modules)

    def _note_shadowed(self, name, notes):
        if name in self._startup_modules:
            notes.append("The local module %r is not used: Python itself has loaded a module of that name." % name)
        elif name in getattr(sys, "stdlib_module_names", ()):
            notes.append("The local module %r hides the module of the standard library of that name." % name)
        else:
            places = [entry for entry in sys.path if entry not in ("", self._cwd)]
            try:
                installed = importlib.machinery.PathFinder.find_spec(name, places)
            except Exception:  # a broken finder of some package is no reason to fail
                return
            if installed is not None and installed.origin is not None:
                notes.append("The local module %r hides the installed package of that name." % name)


def _check_path(path, text):
    """Refuses what would land outside of the folder, or could not be imported."""
    parts = path.split("/")
    if (
        not path.endswith(".py")
        or any(part in ("", ".", "..") for part in parts)
        or "\\" in path
        or any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in path)
        or not isinstance(text, str)
    ):
        raise RequestError(
            "the local module %r is refused: a module needs a relative path with forward slashes that stays in its "
            "folder and ends in .py" % path
        )
