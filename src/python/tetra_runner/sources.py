"""The source code of jobs, written to files: tracebacks, inspect.getsource and multiprocessing's spawn read them."""

from __future__ import annotations

import builtins
import importlib.machinery
import linecache
import os
import shutil
import sys
import types
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import cloudpickle

from . import clients
from .errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    InUse = Callable[["Source"], bool]

_exec = exec

# The name of a module with resources of SDK 2.0, as in RunPod's own runtime: blocks of the form
# `if __name__ == "__main__":` do not run, and its classes have the same module on all workers.
LIVE_NAME = "__runpod_live__"


class Source:
    """Compiled source code, and the path of its file."""

    __slots__ = ("code", "declares_resources", "path", "text")

    def __init__(self, text: str, path: str, code: types.CodeType) -> None:
        self.text = text
        self.path = path
        self.code = code
        # Whether it is a module of SDK 2.0, which imports `runpod` for the decorators of its resources. Other clients
        # send single functions and classes, without the imports of their module.
        self.declares_resources = "runpod" in text and _imports_runpod(text)

    def execute(self) -> types.ModuleType:
        """Runs the source in a new module `__main__`, which replaces the previous one in sys.modules.

        It is named `__main__` because cloudpickle sends classes of `__main__` by value, so that clients can load them
        without the source, and because child processes of multiprocessing look up the job's functions there.
        """
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        self._run_in(main)
        return main

    def execute_live(self) -> types.ModuleType:
        """Runs the source in a new module `__runpod_live__`, which replaces the previous one in sys.modules."""
        clients.prepare()
        live = sys.modules[LIVE_NAME] = types.ModuleType(LIVE_NAME)
        # By value, as those of `__main__`: other processes cannot import a module of this name.
        cloudpickle.register_pickle_by_value(live)
        try:
            self._run_in(live)
        except BaseException:
            del sys.modules[LIVE_NAME]
            raise
        return live

    def _run_in(self, module: types.ModuleType) -> None:
        module.__file__ = self.path
        names = vars(module)
        names["__builtins__"] = builtins
        _exec(self.code, names)


def _imports_runpod(text: str) -> bool:
    """Whether a module imports `runpod` when it is executed, so not inside a function."""
    import ast  # takes 10 ms, and the sources of other clients do not need it

    statements: list[ast.AST] = [*ast.parse(text).body]
    while statements:
        statement = statements.pop()
        if isinstance(statement, ast.Import):
            if any(alias.name.partition(".")[0] == "runpod" for alias in statement.names):
                return True
        elif isinstance(statement, ast.ImportFrom):
            if statement.level == 0 and (statement.module or "").partition(".")[0] == "runpod":
                return True
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            statements += ast.iter_child_nodes(statement)
    return False


class Sources:
    """The most recently used sources, by their text."""

    def __init__(self, directory: str, limit: int = 64) -> None:
        self._directory = directory
        self._limit = limit
        self._count = 0
        self._known: OrderedDict[str, Source] = OrderedDict()

    def get(self, text: str, name: str, in_use: InUse) -> Source:
        """Returns the compiled source. Sources for which `in_use(source)` is true are not removed."""
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

    def _add(self, text: str, name: str) -> Source:
        self._count += 1
        stem = name if name.isidentifier() and name.isascii() and len(name) <= 100 else "job"
        path = os.path.join(self._directory, str(self._count), stem + ".py")
        try:
            code = compile(text, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise RequestError(f"{type(error).__name__}: {error}") from error
        # Without a modification time, the entry stays valid if the file is changed or removed.
        linecache.cache[path] = (len(text), None, text.splitlines(True), path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        except OSError:
            pass  # the disk is full: the code can run without the file, and tracebacks use linecache
        return Source(text, path, code)

    def _remove(self, source: Source) -> None:
        linecache.cache.pop(source.path, None)
        shutil.rmtree(os.path.dirname(source.path), ignore_errors=True)


def remove_partial_imports() -> str | None:
    """After a cancelled call: removes the modules of interrupted imports from sys.modules.

    Python removes a package whose import fails, but not its submodules, which can make the next import of the package
    fail. Returns the name of a removed extension module, since most of them cannot be loaded twice; otherwise None.
    """
    extension = None
    while True:
        names: list[Any] = list(sys.modules)  # a job can add keys that are not strings
        partial = [
            name
            for name in names
            if isinstance(name, str) and "." in name and name.rpartition(".")[0] not in sys.modules
        ]
        if not partial:
            return extension
        for name in partial:
            module = sys.modules.pop(name)
            if isinstance(getattr(module, "__loader__", None), importlib.machinery.ExtensionFileLoader):
                extension = name


def defined_names(module: types.ModuleType) -> str:
    """The names that a source defines, for an error message."""
    own = module.__name__
    names = [
        name
        for name, value in vars(module).items()
        # A handle of SDK 2.0 has the function that it decorates.
        if callable(value) and own in (getattr(value, "__module__", None), _module_of_wrapped(value))
    ]
    return ", ".join(names) or "nothing"


def _module_of_wrapped(value: object) -> object:
    return getattr(getattr(value, "__wrapped__", None), "__module__", None)
