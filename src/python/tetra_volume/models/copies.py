"""Copies the files of hot models to the container's disk, in steps, and verifies them."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from typing import Any, Optional

from ..context import progress
from ..paths import check_regular
from .view import Layout, all_copied_bytes, files_below, layout_of, mirror, show

_CHUNK_BYTES = 4 * 1024 * 1024

# Blobs are named by their digest: SHA-256 of files in Git LFS, else Git's SHA-1.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


# The part of the disk that copies leave free, for jobs.
_FREE_SHARE = 0.1


class _Full(Exception):
    """The next file exceeds the limit, or the disk needs its free space."""


class DamagedFile(Exception):
    """The content of a file does not match its name."""


class _Digest:
    """The digest that a blob is named by; none for files that are not blobs, as of models that RunPod stages."""

    def __init__(self, blob: str, size: int) -> None:
        self._expected = blob
        self._hash: Any = None
        if _SHA256.fullmatch(blob):
            self._hash = hashlib.sha256()
        elif _SHA1.fullmatch(blob):
            self._hash = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, content: bytes) -> None:
        if self._hash is not None:
            self._hash.update(content)

    def matches(self) -> bool:
        return self._hash is None or self._hash.hexdigest() == self._expected


class _Transfer:
    """The copy of one file, which replaces the link to it once it is complete and verified."""

    def __init__(self, layout: Layout, link: str) -> None:
        self.link = link
        self.source = os.path.realpath(link)
        self._input = os.open(self.source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.size = check_regular(self._input, self.source).st_size
            self._partial = os.path.join(layout.local, f".partial-{uuid.uuid4().hex}")
            self._output = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except BaseException:
            os.close(self._input)
            raise
        self._digest = _Digest(os.path.basename(self.source), self.size)
        self._copied = 0

    def step(self) -> bool:
        """Copies a chunk; true at the end of the file."""
        content = os.read(self._input, _CHUNK_BYTES)
        if not content:
            return True
        self._digest.update(content)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._output, rest) :]
        if hasattr(os, "posix_fadvise"):
            # The copy is what jobs will read: the source only takes memory.
            os.posix_fadvise(self._input, self._copied, len(content), os.POSIX_FADV_DONTNEED)
        self._copied += len(content)
        return False

    def finish(self) -> None:
        """Replaces the link by the copy."""
        if self._copied != self.size or not self._digest.matches():
            raise DamagedFile(f"{self.source} is damaged: its content does not match its name or its size")
        os.fsync(self._output)
        os.replace(self._partial, self.link)
        self._close()

    def abort(self) -> None:
        self._close()
        os.unlink(self._partial)

    def _close(self) -> None:
        os.close(self._input)
        os.close(self._output)


# Transfers that continue in the next step, by local folder.
_running: dict[str, _Transfer] = {}

# Links whose targets are damaged or missing.
_skipped: set[str] = set()

# Folders of copies that have a link for each file of the snapshot.
_complete: set[str] = set()


def copy(args: dict[str, Any]) -> dict[str, Any]:
    """Copies hot models, in this order, for some seconds.

    Returns whether everything that fits is copied (isDone), whether the limit or the free disk space is exhausted
    (isFull), the size of all copies (bytes), and which files are damaged (problems).
    """
    layout = layout_of(args)
    end = time.monotonic() + args["seconds"]
    problems: list[str] = []
    is_done = is_full = False
    while not is_done and time.monotonic() < end:
        progress()
        transfer = _running.pop(layout.local, None)
        try:
            transfer = transfer or _next_transfer(layout, args)
            if transfer is None:
                is_done = True
            elif transfer.step():
                transfer.finish()
            else:
                _running[layout.local] = transfer
        except _Full:
            is_done = is_full = True
        except DamagedFile as error:
            problems.append(str(error))
            _abort(transfer)
        except BaseException:
            _abort(transfer)
            raise
    return {"isDone": is_done, "isFull": is_full, "bytes": all_copied_bytes(layout), "problems": problems}


def _abort(transfer: Optional[_Transfer]) -> None:
    if transfer is not None:
        _skipped.add(transfer.link)
        transfer.abort()


def _next_transfer(layout: Layout, args: dict[str, Any]) -> Optional[_Transfer]:
    for model in args["hot"]:
        repository, revision = model["name"], model["revision"]
        if not layout.has(repository, revision):
            continue
        copies = os.path.join(layout.copies(repository), revision)
        if copies not in _complete:
            mirror(layout, repository, revision)
            show(layout, repository)
            _complete.add(copies)
        for _, entry in files_below(copies):
            # Relative links are of jobs, and not on the volume yet.
            if entry.is_symlink() and entry.path not in _skipped and os.path.isabs(os.readlink(entry.path)):
                transfer = _begin(layout, entry.path, args["limit"])
                if transfer is not None:
                    return transfer
    return None


def _begin(layout: Layout, link: str, limit: int) -> Optional[_Transfer]:
    """None if the file is missing."""
    try:
        size = os.stat(link).st_size
    except FileNotFoundError:
        _skipped.add(link)
        return None
    disk = os.statvfs(layout.local)
    reserve = disk.f_blocks * _FREE_SHARE
    if all_copied_bytes(layout) + size > limit or disk.f_bavail - size / disk.f_frsize < reserve:
        raise _Full
    return _Transfer(layout, link)
