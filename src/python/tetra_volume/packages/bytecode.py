"""Compiles installed packages, so that no job does it while it imports them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import Any

from ..context import finish_program, progress, start_program
from .installed import cache_of, distributions

# Least CPU time beside jobs.
LOW_PRIORITY = ("nice", "-n", "19")


def compile_packages(args: dict[str, Any]) -> int:
    """Compiles the modules of the venv `prefix` that have no bytecode for `tag`, with the interpreter `python`.

    Returns their number. Modules that can't be compiled are skipped: imports report them.
    """
    prefix, tag = args["prefix"], args["tag"]
    missing = [
        os.path.join(prefix, path)
        for package in distributions(prefix, tag)
        for path in package.files
        if path.endswith(".py") and cache_of(path, tag) not in package.files
    ]
    if missing:
        _compile([*LOW_PRIORITY, args["python"], "-I", "-S", "-m", "compileall", "-i", "-"], missing)
    return len(missing)


def _compile(command: list[str], modules: list[str]) -> None:
    with tempfile.TemporaryFile() as names:
        names.write(os.fsencode("\n".join(modules)))
        names.seek(0)
        compiler = start_program(command, stdin=names.fileno(), stdout=subprocess.PIPE)
        try:
            # It prints a line for each module.
            for _line in compiler.stdout or ():
                progress()
        finally:
            finish_program(compiler)
