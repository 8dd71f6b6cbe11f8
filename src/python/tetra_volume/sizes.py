"""Sizes of folders."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from .context import progress

# Requests to a network file system that wait at the same time.
_THREADS = 16


def measure(args: dict[str, Any]) -> dict[str, Any]:
    """The number of bytes in a file, or in the files of a folder without links.

    `isComplete` is false if `seconds` were not enough. These are apparent sizes: the blocks of MooseFS have 64 KiB, and
    its folders report sizes that mean nothing.
    """
    path, deadline = args["path"], time.monotonic() + args["seconds"]
    info = os.lstat(path)
    if stat.S_ISREG(info.st_mode):
        return {"bytes": info.st_size, "isComplete": True}
    total = 0
    linked: set[int] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        running: set[Future[_Listing]] = {pool.submit(_list, path)}
        while running and time.monotonic() < deadline:
            progress()
            done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                folders, files = future.result()
                for size, inode in files:
                    if inode not in linked:
                        total += size
                    if inode != 0:
                        linked.add(inode)
                running.update(pool.submit(_list, folder) for folder in folders)
        is_complete = not running
        for future in running:
            future.cancel()
    return {"bytes": total, "isComplete": is_complete}


# Paths of subfolders; sizes of files, with the inode of those that have several names, else 0.
_Listing = tuple[list[str], list[tuple[int, int]]]


def _list(folder: str) -> _Listing:
    folders: list[str] = []
    files: list[tuple[int, int]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    files.append((info.st_size, info.st_ino if info.st_nlink > 1 else 0))
    except (FileNotFoundError, NotADirectoryError):
        # It was removed meanwhile.
        pass
    return folders, files
