"""Imports of modules whose names are only known at run time.

Tracebacks of these imports have no frames of importlib, which Python removes only for the import statement.
"""

from __future__ import annotations

import os
import sys
import types


def import_module(name: str) -> types.ModuleType:
    __import__(name)
    return sys.modules[name]


def import_file(folder: str, file: str) -> types.ModuleType:
    """Imports a file of a folder, whose name need not be valid for a module."""
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, file))
    if os.path.commonpath([root, path]) != root:
        raise ImportError(f"the file {file!r} is outside of the app folder {root}")
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError as error:
        raise ImportError(
            f"the handler file of the app cannot be read; build and deploy the app again: {error}"
        ) from error
    name = os.path.basename(path)[: -len(".py")]
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = path
    exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    return module


def attribute(module: types.ModuleType, name: str) -> object:
    try:
        return getattr(module, name)
    except AttributeError:
        pass
    raise ImportError(f"cannot import name {name!r} from {module.__name__!r} ({module.__file__})")
