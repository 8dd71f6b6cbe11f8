"""Removes folders with their content, without following links and without leaving their file system."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .context import progress
from .paths import failure, in_parent, open_folder, opened

# Deeper folders are moved up before they are removed, so that a removal needs few open files.
_MAX_DEPTH = 32

# Files that are removed concurrently.
_THREADS = 8

# If other processes keep writing to a folder during its removal, the removal fails after this many passes.
_MAX_PASSES = 5

# Deep folders need one more pass for each _MAX_DEPTH levels.
_MAX_DEEP_PASSES = 1000

# Error codes of concurrent changes during a removal. Another pass is needed.
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST}


class _Removal:
    """A removal, which stays on one file system and moves deep folders up to `top`."""

    def __init__(self, top: int, device: int, pool: ThreadPoolExecutor) -> None:
        self.top = top
        self.device = device
        self.pool = pool
        # Whether folders were moved up in this pass.
        self.has_moved = False

    def empty(self, folder: int, depth: int) -> None:
        """Removes the content of a folder, except entries that change during the removal."""
        names, folders = _entries(folder)
        for _ in self.pool.map(partial(_unlink, folder), names):
            progress()
        for name in folders:
            progress()
            try:
                if depth == _MAX_DEPTH:
                    os.rename(name, f".deep-{uuid.uuid4()}", src_dir_fd=folder, dst_dir_fd=self.top)
                    self.has_moved = True
                else:
                    self._remove_folder(folder, name, depth + 1)
            except OSError as error:
                _unless_changed(error)

    def _remove_folder(self, parent: int, name: str, depth: int) -> None:
        with opened(open_folder(parent, name, name)) as folder:
            self.check_device(folder, name)
            self.empty(folder, depth)
        os.rmdir(name, dir_fd=parent)

    def check_device(self, folder: int, shown: str) -> None:
        if os.fstat(folder).st_dev != self.device:
            raise failure(errno.EXDEV, shown, "another file system is mounted there")


def _unless_changed(error: OSError) -> None:
    if error.errno not in _CHANGED:
        raise error


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        _unless_changed(error)


def _entries(folder: int) -> tuple[list[str], list[str]]:
    """Names of files and links, and of folders."""
    # A folder that was opened with O_PATH can't be read.
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    with opened(readable), os.scandir(readable) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return [name for name, is_folder in found if not is_folder], [name for name, is_folder in found if is_folder]


def remove_all(args: dict[str, Any]) -> None:
    """Removes a file, a link (not its target), or a folder with its content."""
    path = args["path"]
    with in_parent(path) as (parent, name):
        info = os.lstat(name, dir_fd=parent)
        if not stat.S_ISDIR(info.st_mode):
            os.unlink(name, dir_fd=parent)
            return
        with opened(open_folder(parent, name, path)) as top, ThreadPoolExecutor(_THREADS) as pool:
            removal = _Removal(top, os.fstat(parent).st_dev, pool)
            removal.check_device(top, path)
            _remove_top(parent, name, removal)


def _remove_top(parent: int, name: str, removal: _Removal) -> None:
    unmoved = 0
    for passes in range(1, _MAX_DEEP_PASSES + 1):
        removal.has_moved = False
        removal.empty(removal.top, 0)
        try:
            os.rmdir(name, dir_fd=parent)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            unmoved += not removal.has_moved
            if unmoved == _MAX_PASSES or passes == _MAX_DEEP_PASSES:
                raise
