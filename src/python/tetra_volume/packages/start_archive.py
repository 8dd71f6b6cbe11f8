"""The start archive of a virtual environment: what a new copy of it needs first.

Jobs import few of the modules in large packages. The archive has the folders that these modules are in, and the rest is
linked until it is copied in the background. A copy is ready once this one archive is unpacked.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable
from typing import Any, Callable, Optional

from ..context import progress
from .archives import link, write_archive
from .installed import distributions, folders_of, other_files, site_packages

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def pack_start(args: dict[str, Any]) -> dict[str, Any]:
    """Packs the start archive of the venv `prefix` into the folder `store`.

    `folders` are those of the modules that jobs import; None if the archive should have everything. `links` are the
    paths that complete copies link to the venv. Returns the archive and the paths that a copy made of it links.
    """
    prefix, folders = args["prefix"], args["folders"]
    packages = distributions(prefix, args["tag"])
    owned = {path for package in packages for path in package.files}
    is_deferred = _deferring(site_packages(prefix), folders) if folders is not None else None
    files, links = split([*owned, *other_files(prefix, owned)], set(args["links"]), is_deferred)
    return {**write_archive(prefix, files, args["store"]), "links": links}


def split(
    paths: Iterable[str], linked: set[str], is_deferred: Optional[Callable[[str], bool]]
) -> tuple[list[str], list[str]]:
    """The files to pack, and the outermost paths to link."""
    files: list[str] = []
    links: set[str] = set()
    for path in paths:
        outermost = (
            each
            for each in (*folders_of(path), path)
            if each in linked or (is_deferred is not None and each != path and is_deferred(each))
        )
        found = next(outermost, None)
        if found is None:
            files.append(path)
        else:
            links.add(found)
    return sorted(files), sorted(links)


def _deferring(site: str, folders: Iterable[str]) -> Callable[[str], bool]:
    """Whether a folder has none of the modules in `folders`. Metadata is never deferred: uv reads all of it."""
    used = {site}
    for folder in folders:
        used.update((*folders_of(folder), folder))

    def is_deferred(folder: str) -> bool:
        parts = folder[len(site) + 1 :].split("/")
        return (
            folder.startswith(f"{site}/")
            and folder not in used
            and parts[-1] != "__pycache__"
            and not parts[0].endswith(".dist-info")
        )

    return is_deferred


def complete(args: dict[str, Any]) -> None:
    """Completes the copy `target` of the venv `prefix` by the content of its packages, which are unpacked in `aside`.

    `deferred` are the links to replace, and `links` the paths that stay links. A process that imports at the same time
    finds either the link or the folder.
    """
    target, aside = args["target"], args["aside"]
    link({"prefix": args["prefix"], "target": aside, "links": args["links"]})
    for path in args["deferred"]:
        progress()
        at, real = os.path.join(target, path), os.path.join(aside, path)
        # A job may have replaced or removed it.
        if os.path.islink(at) and os.path.lexists(real):
            _exchange(real, at)
    shutil.rmtree(aside)


def _exchange(first: str, second: str) -> None:
    """Exchanges two paths, atomically if the file system can do that."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        code = errno.ENOSYS
    else:
        if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), second)
    os.unlink(second)
    os.rename(first, second)
