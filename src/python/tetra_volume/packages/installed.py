"""The packages in a virtual environment and their files, by the RECORD of each one."""

from __future__ import annotations

import csv
import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..context import progress

# Reading large files is fast on a network volume. Copying them would take space and time that only few are worth.
LARGE_FILE = 1024 * 1024

# Packages up to these limits are copied as a whole, so that their archives can be used without their venv.
MAX_LARGE_BYTES = 64 * 1024 * 1024
MAX_FILES_WITHOUT_CODE = 1000

# A folder with fewer files is not worth a link.
LINKED_FOLDER = 16

# Content of the file INSTALLER of packages of the image, which are registered in a venv but not installed in it.
IMAGE_INSTALLER = "worker-tetra-image"

# Files with these endings are read by imports, and jobs may edit them.
_CODE = re.compile(r"\.(py|pyi|pyc|pyx|pxd|pth)$|\.so(\.|$)")

_RECORD_NAME = re.compile(r"(.+)-([^-]+)\.dist-info")


class Distribution(NamedTuple):
    """An installed package. The paths of its files are relative to the venv."""

    record: str
    """The name of its folder in site-packages, such as `numpy-2.4.6.dist-info`."""
    name: str
    version: str
    files: dict[str, int]
    """Sizes by path."""

    @property
    def is_whole(self) -> bool:
        """Whether copies of a venv have all of its files, rather than links to the large ones."""
        large = sum(size for size in self.files.values() if size >= LARGE_FILE)
        others = sum(1 for path in self.files if not _CODE.search(path))
        return large <= MAX_LARGE_BYTES and others <= MAX_FILES_WITHOUT_CODE


def site_packages(prefix: str) -> str:
    """The folder of a venv's packages, relative to the venv."""
    lib = os.path.join(prefix, "lib")
    for name in sorted(os.listdir(lib)):
        if name.startswith("python3") and os.path.isdir(os.path.join(lib, name, "site-packages")):
            return os.path.join("lib", name, "site-packages")
    raise FileNotFoundError(2, "No such file or directory", os.path.join(lib, "python3*", "site-packages"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _size_of(path: str) -> int | None:
    """The size of a regular file or a link; None for anything else."""
    progress()
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_size if stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode) else None


def cache_of(source: str, tag: str) -> str:
    """The path of the bytecode of a module."""
    folder, name = os.path.split(source)
    return os.path.join(folder, "__pycache__", f"{name[:-3]}.{tag}.pyc")


def recorded_paths(prefix: str, site: str, record: str, tag: str) -> Iterator[str]:
    """The files of a package and their bytecode, whether they exist or not. Paths outside of the venv are left out."""
    for row in csv.reader(_read(os.path.join(prefix, site, record, "RECORD")).splitlines()):
        path = os.path.normpath(os.path.join(site, row[0])) if row else ""
        if path in ("", ".") or path.startswith(("/", "../")):
            continue
        yield path
        if path.endswith(".py"):
            yield cache_of(path, tag)


def records(prefix: str, site: str) -> list[str]:
    """The `.dist-info` folders of the packages that are installed in a venv, without those of the image."""
    return [
        name
        for name in sorted(os.listdir(os.path.join(prefix, site)))
        if _RECORD_NAME.fullmatch(name)
        and _read(os.path.join(prefix, site, name, "INSTALLER")).strip() != IMAGE_INSTALLER
    ]


def distribution(prefix: str, site: str, record: str, tag: str) -> Distribution:
    found = _RECORD_NAME.fullmatch(record)
    if found is None:
        raise ValueError(f"{record!r} is not the folder of a package's metadata")
    sizes = ((path, _size_of(os.path.join(prefix, path))) for path in recorded_paths(prefix, site, record, tag))
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    return Distribution(record, name, found[2], {path: size for path, size in sizes if size is not None})


def distributions(prefix: str, tag: str) -> list[Distribution]:
    """All packages that are installed in a venv. `tag` is its interpreter's, such as `cpython-312`."""
    site = site_packages(prefix)
    return [distribution(prefix, site, record, tag) for record in records(prefix, site)]


def linked_paths(packages: Iterable[Distribution]) -> list[str]:
    """What a copy of a venv links to it instead of copying it: large files of large packages, and folders without code.

    Such folders have headers, for example. All of their files must belong to large packages.
    """
    large = [package for package in packages if not package.is_whole]
    small_files = {path for package in packages if package.is_whole for path in package.files}
    counts: dict[str, int] = {}
    mixed: set[str] = set()
    for path in small_files:
        mixed.update(folders_of(path))
    for package in large:
        for path in package.files:
            folders = list(folders_of(path))
            if _CODE.search(path):
                mixed.update(folders)
            for folder in folders:
                counts[folder] = counts.get(folder, 0) + 1
    linked: set[str] = set()
    for package in large:
        for path, size in package.files.items():
            folder = next((each for each in folders_of(path) if _is_linked(each, counts, mixed)), None)
            if folder is not None:
                linked.add(folder)
            elif size >= LARGE_FILE:
                linked.add(path)
    return sorted(linked)


def folders_of(path: str) -> Iterator[str]:
    """The folders of a path, from the outermost one."""
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def _is_linked(folder: str, counts: dict[str, int], mixed: set[str]) -> bool:
    return folder not in mixed and counts.get(folder, 0) >= LINKED_FOLDER and not folder.endswith(".dist-info")


def is_linked(path: str, linked: set[str]) -> bool:
    """Whether a path, or a folder that it is in, is one of the linked ones."""
    return path in linked or any(folder in linked for folder in folders_of(path))


def other_files(prefix: str, owned: set[str]) -> list[str]:
    """The files of a venv that belong to none of its packages: its interpreter, scripts, and the packages of the image.

    Bytecode and the worker's own records are left out.
    """
    found: list[str] = []
    for folder, folders, names in os.walk(prefix):
        base = os.path.relpath(folder, prefix)
        folders[:] = [name for name in folders if name != "__pycache__"]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            path = os.path.normpath(os.path.join(base, name))
            if path not in owned and not path.startswith(".worker-tetra-"):
                found.append(path)
    return sorted(found)
