"""Operations on files. Writing follows no links; reading does, but never blocks on a pipe."""

from __future__ import annotations

import binascii
import errno
import os
import stat as modes
import uuid
from typing import Any, Optional

from .context import progress
from .paths import check_regular, failure, in_parent, not_followed, open_file
from .paths import make_folders as make_all

_COPY_BYTES = 1024 * 1024


def _type_of(mode: int) -> str:
    for test, name in (
        (modes.S_ISREG, "File"),
        (modes.S_ISDIR, "Directory"),
        (modes.S_ISLNK, "SymbolicLink"),
        (modes.S_ISBLK, "BlockDevice"),
        (modes.S_ISCHR, "CharacterDevice"),
        (modes.S_ISFIFO, "FIFO"),
        (modes.S_ISSOCK, "Socket"),
    ):
        if test(mode):
            return name
    return "Unknown"


def _describe(info: os.stat_result) -> dict[str, Any]:
    return {
        "type": _type_of(info.st_mode),
        "mode": info.st_mode,
        # 64 bits do not fit into a number of JavaScript.
        "dev": str(info.st_dev),
        "ino": str(info.st_ino),
        "nlink": info.st_nlink,
        "uid": info.st_uid,
        "gid": info.st_gid,
        "size": info.st_size,
        "blksize": info.st_blksize,
        "blocks": info.st_blocks,
        "atime": info.st_atime_ns // 1_000_000,
        "mtime": info.st_mtime_ns // 1_000_000,
    }


def stat(args: dict[str, Any]) -> dict[str, Any]:
    return _describe(os.stat(args["path"]))


def lstat(args: dict[str, Any]) -> dict[str, Any]:
    return _describe(os.lstat(args["path"]))


def statfs(args: dict[str, Any]) -> dict[str, int]:
    """The space of the disk in bytes."""
    info = os.statvfs(args["path"])
    return {"free": info.f_bavail * info.f_frsize, "total": info.f_blocks * info.f_frsize}


def access(args: dict[str, Any]) -> None:
    path = args["path"]
    mode = (os.R_OK if args.get("readable") else 0) | (os.W_OK if args.get("writable") else 0)
    # Fails with the reason, unlike os.access.
    os.stat(path)
    if mode != 0 and not os.access(path, mode):
        raise failure(errno.EACCES, path)


def read(args: dict[str, Any]) -> str:
    """The content in base64."""
    path = args["path"]
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(file, "rb", buffering=0) as stream:
        check_regular(file, path)
        return binascii.b2a_base64(stream.readall(), newline=False).decode()


def read_link(args: dict[str, Any]) -> str:
    return os.readlink(args["path"])


def real_path(args: dict[str, Any]) -> str:
    path = args["path"]
    os.stat(path)
    return os.path.realpath(path)


def list_folder(args: dict[str, Any]) -> list[list[str]]:
    """Names and types, sorted by name."""
    with os.scandir(args["path"]) as entries:
        return sorted([entry.name, _entry_type(entry)] for entry in entries)


def _entry_type(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "SymbolicLink"
    if entry.is_dir(follow_symlinks=False):
        return "Directory"
    return "File" if entry.is_file(follow_symlinks=False) else "Unknown"


def make_folder(args: dict[str, Any]) -> None:
    with in_parent(args["path"]) as (folder, name):
        os.mkdir(name, args.get("mode", 0o777), dir_fd=folder)


def make_folders(args: dict[str, Any]) -> None:
    make_all(args["path"], args.get("mode", 0o777))


def make_temporary(args: dict[str, Any]) -> str:
    path = f"{args['prefix']}{uuid.uuid4().hex[:12]}"
    with in_parent(path) as (folder, name):
        os.mkdir(name, 0o700, dir_fd=folder)
    return path


def symlink(args: dict[str, Any]) -> None:
    with in_parent(args["path"]) as (folder, name):
        os.symlink(args["target"], name, dir_fd=folder)


def rename(args: dict[str, Any]) -> None:
    with in_parent(args["from"]) as (source, old), in_parent(args["to"]) as (target, new):
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)


def remove(args: dict[str, Any]) -> None:
    with in_parent(args["path"]) as (folder, name):
        os.unlink(name, dir_fd=folder)


def chmod(args: dict[str, Any]) -> None:
    path = args["path"]
    with in_parent(path) as (folder, name):
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise not_followed(path) if error.errno == errno.ELOOP else error from None
    try:
        os.fchmod(file, args["mode"])
    finally:
        os.close(file)


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _open_empty(path: str, is_new: bool, mode: Optional[int]) -> int:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if is_new else 0)
    file = open_file(path, flags, 0o666 if mode is None else mode)
    try:
        if not is_new:
            os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _close_after(file: int, act: Any) -> None:
    """An exceeded quota is often reported only by close."""
    try:
        act()
    except BaseException:
        try:
            os.close(file)
        except OSError:
            pass
        raise
    os.close(file)


def write(args: dict[str, Any]) -> None:
    """Writes a content in base64; with `new`, fails if the file exists."""
    path, is_new = args["path"], bool(args.get("new"))
    content = binascii.a2b_base64(args["content"])
    file = _open_empty(path, is_new, args.get("mode"))
    _close_after(file, lambda: _write_all(file, content))


def copy(args: dict[str, Any]) -> None:
    source = open_file(args["from"], os.O_RDONLY)
    try:
        target = _open_empty(args["to"], False, modes.S_IMODE(os.fstat(source).st_mode))
        _close_after(target, lambda: _copy_content(source, target))
    finally:
        os.close(source)


def _copy_content(source: int, target: int) -> None:
    while content := os.read(source, _COPY_BYTES):
        _write_all(target, content)
        progress()


def probe(args: dict[str, Any]) -> None:
    """Fails if a file can't be written to a folder.

    The file is removed only after it was closed: MooseFS does not check the quota for a file without a name.
    """
    path = os.path.join(args["path"], f".write-probe-{uuid.uuid4()}")
    file = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _close_after(file, lambda: _write_and_sync(file, b"x"))
    finally:
        remove({"path": path})


def _write_and_sync(file: int, content: bytes) -> None:
    _write_all(file, content)
    # An exceeded quota is often reported only here or by close.
    os.fsync(file)
