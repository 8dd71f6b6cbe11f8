"""Why the code of an app cannot start."""

from __future__ import annotations

import importlib.machinery
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ..errors import safe_message

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    Phase = Literal["import", "construct"]


class StartError(Exception):
    """The code of an app cannot be imported, or its objects cannot be constructed. The cause is its exception."""

    def __init__(self, phase: Phase, cause: BaseException, missing: str | None = None) -> None:
        super().__init__(safe_message(cause))
        self.phase: Phase = phase
        self.cause = self.__cause__ = cause
        self.missing = missing  # a package whose installation may help
        self.system_dependencies: list[str] = []  # of the app, as far as they are known


@contextmanager
def starting(phase: Phase, own_modules: Collection[str] = ()) -> Generator[None, None, None]:
    """Raises StartError if the code in the block fails. `own_modules` are modules of the app.

    A cancelled call is not a StartError.
    """
    try:
        yield
    except (StartError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also those of libraries, such as asyncio.CancelledError
        raise StartError(phase, error, _missing_package(error, own_modules)) from error


def _missing_package(error: BaseException, own_modules: Collection[str]) -> str | None:
    """The package to install after an exception, if there is one. Otherwise its message is extended by the reason."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    reason = _why_not_installable(package, own_modules)
    if reason is None:
        return package
    error.msg = f"{safe_message(error)} ({reason})"
    return None


def _why_not_installable(package: str, own_modules: Collection[str]) -> str | None:
    if any(package == module.partition(".")[0] for module in own_modules):
        return "it is a module of the app, but the deployed artifact does not contain it; build and deploy it again"
    try:
        found = importlib.machinery.PathFinder.find_spec(package)
    except Exception:  # raised by an import hook
        return None
    if found is not None:
        places = [found.origin] if found.origin is not None else list(found.submodule_search_locations or ())
        return f"{package} was found at {', '.join(places)}, but it does not contain this module"
    if package in getattr(sys, "stdlib_module_names", ()):
        return "it is part of the standard library, but this installation of Python does not have it"
    return None
