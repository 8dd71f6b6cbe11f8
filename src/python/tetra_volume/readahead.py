"""Reads the parts of large files ahead that Python processes of jobs will need.

A network volume transfers a file fast if several parts are read at once, but a process that maps a library waits for
each small part in turn. So the parts that a process had mapped are recorded, and read at the start of the next worker.
Reading is necessary: FUSE ignores `posix_fadvise`.
"""

from __future__ import annotations

import array
import os
import stat
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

from .context import progress

# Files are recorded and read in blocks of the kernel's default read-ahead size.
BLOCK = 128 << 10
_CHUNK = 1 << 20
_THREADS = 8

# In an entry of a page map: the page is in memory, or in swap.
_IS_PRESENT = 1 << 62

_REMOTE = ("fuse", "nfs", "ceph", "cifs", "smb", "9p", "lustre", "gluster", "beegfs", "virtiofs")

Range = tuple[int, int]


def mapped(args: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of files below `root` that the process `pid` has in memory by its mappings, the largest first.

    Not what is in the page cache: after an installation that contains all files.
    """
    root = os.path.realpath(args["root"])
    if not is_remote(root):
        return []
    files = mapped_ranges(args["pid"], root)
    return [{"path": path, "ranges": ranges} for path, ranges in sorted(files.items(), key=_size, reverse=True)]


def read(args: dict[str, Any]) -> int:
    """Reads these parts of files below `root`, at most `limit` bytes; returns the number of bytes that were read."""
    root = os.path.realpath(args["root"])
    if not is_remote(root):
        return 0
    return read_ranges(root, [(file["path"], file["ranges"]) for file in args["files"]], args["limit"])


def _size(file: tuple[str, list[Range]]) -> int:
    return sum(length for _, length in file[1])


def is_remote(path: str) -> bool:
    """Whether reading from the file system of a path needs a network."""
    try:
        status = os.stat(path)
        with open("/proc/self/mountinfo") as mounts:
            lines = mounts.read().splitlines()
    except OSError:
        return False
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for line in lines:
        fields = line.split(" ")
        if fields[2] == device:
            return fields[fields.index("-") + 1].startswith(_REMOTE)
    return False


def mapped_ranges(pid: int, root: str) -> dict[str, list[Range]]:
    """The blocks of files below a folder that a process has touched, by the paths in this folder."""
    prefix = os.path.join(root, "")
    blocks: dict[str, set[int]] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as maps:
        lines = maps.read().splitlines()
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in lines:
            fields = line.split(None, 5)
            if len(fields) < 6 or not fields[5].startswith(prefix):
                continue
            start, _, end = fields[0].partition("-")
            first, last = int(start, 16) // page, int(end, 16) // page
            touched = _touched(pagemap.fileno(), first, last, int(fields[2], 16), page)
            blocks.setdefault(fields[5][len(prefix) :], set()).update(touched)
            progress()
    return {path: _joined(sorted(numbers)) for path, numbers in blocks.items() if numbers and _is_text(path)}


def _touched(pagemap: int, first: int, last: int, offset: int, page: int) -> set[int]:
    """The numbers of the file's blocks of which a page from `first` to `last` is in memory."""
    entries = array.array("Q")
    data = os.pread(pagemap, (last - first) * entries.itemsize, first * entries.itemsize)
    entries.frombytes(data[: len(data) // entries.itemsize * entries.itemsize])
    touched: set[int] = set()
    index = 0
    while index < len(entries):
        block = (offset + index * page) // BLOCK
        following = min(len(entries), -(-((block + 1) * BLOCK - offset) // page))
        if max(entries[index:following]) >= _IS_PRESENT:
            touched.add(block)
        index = following
    return touched


def _is_text(path: str) -> bool:
    """Whether a path can be written to JSON."""
    return path.isprintable()


def _joined(blocks: list[int]) -> list[Range]:
    """The ranges of successive blocks, in bytes."""
    ranges: list[Range] = []
    for block in blocks:
        start = block * BLOCK
        if ranges and sum(ranges[-1]) == start:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + BLOCK)
        else:
            ranges.append((start, BLOCK))
    return ranges


def read_ranges(root: str, files: list[tuple[str, list[Range]]], limit: int) -> int:
    """Reads files in several threads, those with most bytes first; returns the number of bytes that were read."""
    budget = limit
    with ThreadPoolExecutor(_THREADS) as pool:
        pending = set()
        for path, ranges in sorted(files, key=_size, reverse=True):
            budget -= _size((path, ranges))
            if budget >= 0:
                pending.add(pool.submit(_read_file, os.path.join(root, path), ranges))
        total = 0
        try:
            while pending:
                done, pending = wait(pending, timeout=1, return_when=FIRST_COMPLETED)
                total += sum(future.result() for future in done)
                if done:
                    progress()
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    return total


def _read_file(path: str, ranges: list[Range]) -> int:
    """Reads the ranges of a file; what cannot be read is left out, since it is only read ahead."""
    total = 0
    buffer = memoryview(bytearray(_CHUNK))
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return 0
        for start, length in ranges:
            position, end = start, start + length
            while position < end:
                count = os.preadv(file, [buffer[: min(_CHUNK, end - position)]], position)
                if count == 0:
                    break
                position += count
                total += count
    except OSError:
        pass
    finally:
        os.close(file)
    return total
