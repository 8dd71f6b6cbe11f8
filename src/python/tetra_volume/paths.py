"""Opens paths without following links, as src/platform/files/safe/SafePaths.ts does for other disks.

Jobs and other endpoints can write to most folders that the worker uses, so any folder in a path may be replaced by a
link at any moment. Therefore every path is opened from its root, one component after the other, and none of them may be
a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from typing import Optional

# macOS has no O_PATH. On Linux it opens a folder only as part of a path, without a request to the volume's server.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC

# If other hosts create and remove a file all the time, opening it fails after this many attempts.
_OPEN_ATTEMPTS = 20

_roots: list[str] = []


def set_roots(roots: list[str]) -> None:
    """Sets the folders below which links are not followed. Their own paths are the user's, and may contain links."""
    _roots[:] = [os.path.normpath(root) for root in roots]


def failure(code: int, path: str, reason: Optional[str] = None) -> OSError:
    return OSError(code, os.strerror(code) if reason is None else reason, path)


def not_followed(path: str) -> OSError:
    return failure(errno.ELOOP, path, "symbolic links are not followed")


def root_of(path: str) -> Optional[str]:
    """The outermost root that contains a path."""
    containing = [root for root in _roots if path != root and path.startswith(root.rstrip("/") + "/")]
    return min(containing, key=len) if containing else None


def open_root(root: str) -> int:
    return os.open(root, _FOLDER)


def open_folder(parent: int, name: str, shown: str) -> int:
    """Opens a folder in another one; `shown` is its path for messages."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        # For a link, open fails with ENOTDIR.
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
            raise not_followed(shown) from None
        error.filename = shown
        raise


@contextlib.contextmanager
def opened(folder: int) -> Generator[int, None, None]:
    try:
        yield folder
    finally:
        os.close(folder)


def _make_if_missing(name: str, mode: int, parent: Optional[int] = None) -> None:
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        pass


def _descend(root: str, path: str, mode: Optional[int] = None) -> int:
    """Opens every folder from a root down to a path, and creates the missing ones if there is a mode."""
    folder = open_root(root)
    shown = root
    for name in os.path.relpath(path, root).split("/"):
        if name == ".":
            continue
        shown = os.path.join(shown, name)
        try:
            if mode is not None:
                _make_if_missing(name, mode, folder)
            inner = open_folder(folder, name, shown)
        finally:
            os.close(folder)
        folder = inner
    return folder


@contextlib.contextmanager
def in_parent(path: str) -> Generator[tuple[int, str], None, None]:
    """The open parent folder of a path, and the last component. Paths outside of the roots are trusted."""
    whole = os.path.normpath(path)
    parent, name = os.path.split(whole)
    with opened(_descend(root_of(whole) or parent, parent)) as folder:
        try:
            yield folder, name
        except OSError as error:
            # The system's message has only the last component.
            if error.filename == name:
                error.filename = path
            raise


def _make_trusted(path: str, mode: int) -> None:
    try:
        _make_if_missing(path, mode)
    except FileNotFoundError:
        _make_trusted(os.path.dirname(path), mode)
        _make_if_missing(path, mode)


def make_folders(path: str, mode: int) -> None:
    """Creates a folder and its missing parents. Existing folders are not changed."""
    whole = os.path.normpath(path)
    root = root_of(whole)
    _make_trusted(root or whole, mode)
    if root is not None:
        os.close(_descend(root, whole, mode))


def check_regular(file: int, path: str) -> os.stat_result:
    info = os.fstat(file)
    if not stat.S_ISREG(info.st_mode):
        raise failure(errno.EINVAL, path, "this is not a regular file")
    return info


def open_file(path: str, flags: int, mode: int = 0o666) -> int:
    """Opens a regular file, and creates it if the flags have O_CREAT.

    Fails for pipes and devices, which may block, and for writing to a file with more than one hard link, which may
    belong to another user or endpoint.
    """
    with in_parent(path) as (folder, name):
        file = _open_or_create(folder, name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, path)
    try:
        info = check_regular(file, path)
        if flags & (os.O_WRONLY | os.O_RDWR) and info.st_nlink > 1:
            raise failure(errno.EMLINK, path, "this file has another hard link")
    except BaseException:
        os.close(file)
        raise
    return file


def _open_or_create(folder: int, name: str, flags: int, mode: int, path: str) -> int:
    """On MooseFS, O_CREAT without O_EXCL fails with EEXIST if two hosts create a file at the same time."""
    try:
        if flags & os.O_EXCL or not flags & os.O_CREAT:
            return os.open(name, flags, mode, dir_fd=folder)
        for _ in range(_OPEN_ATTEMPTS):
            try:
                return os.open(name, flags & ~os.O_CREAT, dir_fd=folder)
            except FileNotFoundError:
                pass
            try:
                return os.open(name, flags | os.O_EXCL, mode, dir_fd=folder)
            except FileExistsError:
                pass
        raise failure(errno.EAGAIN, path, "other processes create and remove it all the time")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise not_followed(path) from None
        raise
