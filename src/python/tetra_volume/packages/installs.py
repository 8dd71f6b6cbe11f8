"""Checks and undoes what an installer wrote.

uv ignores errors of close(2), with which a network file system reports an exceeded quota. Then an install may succeed
although files are empty.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Optional

from ..context import progress
from ..files import remove

# Requests to a network file system that wait at the same time.
_THREADS = 16

_DISTRIBUTION = ".dist-info"

# Folders of a virtual environment that installers write to.
_INSTALLED = ("bin", "etc", "include", "lib", "share")


class _File(NamedTuple):
    """A file of a distribution."""

    path: str
    # In bytes; none if unknown.
    size: Optional[int]


class _Damage(NamedTuple):
    path: str
    is_empty: bool


def _distributions(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(_DISTRIBUTION)]


def _record(site_packages: str, distribution: str) -> list[_File]:
    """The files of a distribution by its RECORD; empty if that is missing or was not written completely."""
    path = os.path.join(site_packages, distribution, "RECORD")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file))
    except (FileNotFoundError, csv.Error):
        return []
    return [
        _File(
            os.path.normpath(os.path.join(site_packages, row[0])),
            int(row[2]) if len(row) > 2 and row[2].isdigit() else None,
        )
        for row in rows
        if row
    ]


def _size(path: str) -> Optional[int]:
    try:
        return os.lstat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _damage(file: _File) -> Optional[_Damage]:
    """Files that are missing do not count: some packages list files that they do not have."""
    found = _size(file.path)
    if file.size is None or found is None or found >= file.size:
        return None
    return _Damage(file.path, found == 0)


def _damages(files: Iterable[_File]) -> Iterator[_Damage]:
    with ThreadPoolExecutor(_THREADS) as pool:
        for damage in pool.map(_damage, files):
            progress()
            if damage is not None:
                yield damage


def verify(args: dict[str, Any]) -> list[dict[str, Any]]:
    """Packages in `folder` with files that are shorter than their RECORD says, except the packages `before`.

    The result has one such file for each of them, if possible an empty one.
    """
    folder, before = args["folder"], set(args["before"])
    found: list[dict[str, Any]] = []
    for distribution in _distributions(folder):
        if distribution in before:
            continue
        record = os.path.join(folder, distribution, "RECORD")
        files = _record(folder, distribution)
        damages = list(_damages(files)) if files or _size(record) is None else [_Damage(record, True)]
        if damages:
            worst = next((damage for damage in damages if damage.is_empty), damages[0])
            found.append({"package": distribution, "file": worst.path, "isEmpty": worst.is_empty})
    return found


def restore(args: dict[str, Any]) -> bool:
    """Removes what a failed install added to a virtual environment, and returns whether the rest is intact.

    `before` are the names in site-packages when the install began. What they contain is only removed if no package of
    that time has it and it is newer than the marker, which was written when the install began.
    """
    folder, before = args["folder"], set(args["before"])
    restoration = _Restoration(folder, before, os.lstat(args["marker"]).st_ctime_ns)
    with ThreadPoolExecutor(_THREADS) as pool:
        for name in _INSTALLED:
            for parent, folders, files in os.walk(os.path.join(args["prefix"], name), topdown=False):
                progress()
                restoration.clean(parent, folders, files, pool)
    return not any(_damages(restoration.changed))


class _Restoration:
    def __init__(self, folder: str, before: set[str], began: int) -> None:
        self.folder = folder
        self.before = before
        self.began = began
        # Files of packages that were there before, and which of them have changed since.
        self.owned: dict[str, _File] = {}
        self.changed: list[_File] = []
        self.added: set[str] = set()
        self.removed_folders: set[str] = set()
        for distribution in _distributions(folder):
            for file in _record(folder, distribution):
                if distribution in before:
                    self.owned[file.path] = file
                else:
                    self.added.add(file.path)

    def clean(self, parent: str, folders: list[str], files: list[str], pool: ThreadPoolExecutor) -> None:
        entries = [os.path.join(parent, name) for name in folders + files]
        present = [path for path in entries if path not in self.removed_folders]
        left = [path for path in pool.map(self.is_left_over, present) if path is not None]
        for path in left:
            remove({"path": path})
        if len(left) == len(present) and (len(entries) > 0 or self.is_new(parent, os.lstat(parent))):
            os.rmdir(parent)
            self.removed_folders.add(parent)

    def is_left_over(self, path: str) -> Optional[str]:
        """The path if it is not a folder and was added by the install."""
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(info.st_mode):
            return None
        file = self.owned.get(path)
        if file is None:
            return path if path in self.added or self.is_new(path, info) else None
        if info.st_ctime_ns >= self.began:
            self.changed.append(file)
        return None

    def is_new(self, path: str, info: os.stat_result) -> bool:
        if path.startswith(f"{self.folder}/"):
            top = path[len(self.folder) + 1 :].partition("/")[0]
            if top not in self.before:
                return True
        return info.st_ctime_ns > self.began
