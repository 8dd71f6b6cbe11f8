"""Local copies of hot models, in the layout of the hub cache of Hugging Face libraries.

The hub cache is shared by all workers, so its entries can't refer to the disk of one container. Therefore jobs of a
container use a view of it: a separate folder on the volume, with a link for each repository.

    <volume>/.hf-cache/hub/models--a--b           the repository: blobs/ refs/ snapshots/<revision>/
    <volume>/.hf-cache/views/<id>/models--a--b    -> ../../hub/models--a--b, or -> <local>/models--a--b
    <local>/hub                                   -> <volume>/.hf-cache/views/<id>; the cache folder of the jobs
    <local>/models--a--b/blobs                    -> the repository's on the volume; so are refs, trees and .no_exist
    <local>/models--a--b/snapshots/<revision>     -> ../copies/<revision>, or -> the snapshot on the volume
    <local>/models--a--b/copies/<revision>/file   -> the file in the snapshot on the volume, or a verified copy of it

The view is on the volume, so a download of a new repository fills the volume and not the container's disk, survives the
container, and is moved to the hub by a rename. Of a repository with a local copy, new blobs are written to the volume
through the link, and only new links in its snapshots have to be repeated there. Each file is replaced by its copy with
one rename after the copy was verified, so a process that is killed at any time leaves a working cache.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
import uuid
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, Optional

from ..context import progress
from ..paths import in_parent, make_folders
from ..removal import remove_all

# Folders of repositories in a hub cache. Other entries belong to libraries.
_REPOSITORY = re.compile(r"(models|datasets|spaces)--")

# Locks of downloads, by repository. They are shared, since downloads write to the volume.
_LOCKS = ".locks"

# Seconds after which a view belongs to a container that ended or sleeps: what it downloaded is moved to the hub.
_ABANDONED_AFTER = 3600.0

# Parts of a repository that are on the volume only.
_SHARED_PARTS = ("blobs", "refs", ".no_exist", "trees")

# Held as long as this process runs, by local folder: another worker of the container removes no copies meanwhile.
_in_use: dict[str, int] = {}


class Layout(NamedTuple):
    """The folders of a container's view."""

    hub: str
    views: str
    local: str

    @property
    def link(self) -> str:
        return os.path.join(self.local, "hub")

    @property
    def view(self) -> str:
        return os.readlink(self.link)

    def copies(self, repository: str) -> str:
        return os.path.join(self.local, repository, "copies")

    def snapshot(self, repository: str, revision: str) -> str:
        """The snapshot on the volume."""
        return os.path.join(self.hub, repository, "snapshots", revision)

    def has(self, repository: str, revision: str) -> bool:
        return os.path.isdir(self.snapshot(repository, revision))


def layout_of(args: dict[str, Any]) -> Layout:
    return Layout(args["hub"], args["views"], args["local"])


def link(target: str, path: str) -> bool:
    """Creates a link; false if the path exists."""
    try:
        with in_parent(path) as (folder, name):
            os.symlink(target, name, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def relink(target: str, path: str) -> None:
    """Replaces a file or a link by a link, atomically."""
    temporary = f"{path}.{uuid.uuid4().hex}"
    link(target, temporary)
    rename(temporary, path)


def rename(path: str, new: str) -> None:
    with in_parent(path) as (source, old_name), in_parent(new) as (target, new_name):
        os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)


def names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_folder(path: str) -> bool:
    """Whether a path is a folder, and not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def files_below(folder: str, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The relative paths of files and links below a folder."""
    with os.scandir(os.path.join(folder, below)) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            path = os.path.join(below, entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(folder, path)
            else:
                yield path, entry


def repositories(folder: str) -> list[str]:
    return [name for name in names_in(folder) if _REPOSITORY.match(name)]


# -- The view


def open_view(args: dict[str, Any]) -> str:
    """Prepares the view and returns the cache folder for jobs. Removes copies that are not hot or exceed the limit."""
    layout = layout_of(args)
    os.makedirs(layout.local, exist_ok=True)
    _reuse_or_create_view(layout)
    for repository in repositories(layout.local):
        _publish_snapshots(layout, repository)
    hot = [(model["name"], model["revision"]) for model in args["hot"]]
    with _alone(layout.local) as is_alone:
        if is_alone:
            _evict(layout, hot, args["limit"])
    for repository, revision in _copied_snapshots(layout):
        if layout.has(repository, revision):
            mirror(layout, repository, revision)
    _adopt_abandoned(layout)
    _refresh(layout)
    return layout.link


def refresh(args: dict[str, Any]) -> None:
    """Moves what jobs downloaded to the hub, and adds what other containers downloaded. Runs while no job does."""
    _refresh(layout_of(args))


def _reuse_or_create_view(layout: Layout) -> None:
    try:
        if os.path.dirname(layout.view) == layout.views and is_folder(layout.view):
            return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
    view = os.path.join(layout.views, uuid.uuid4().hex)
    make_folders(view, 0o777)
    relink(view, layout.link)


@contextlib.contextmanager
def _alone(local: str) -> Generator[bool]:
    """Whether no other process of this container uses the copies. Uses them itself afterwards."""
    file = _in_use.get(local)
    if file is None:
        file = _in_use[local] = os.open(os.path.join(local, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        fcntl.flock(file, fcntl.LOCK_SH)


def _refresh(layout: Layout) -> None:
    view = layout.view
    for repository in repositories(layout.local):
        _publish_snapshots(layout, repository)
    _adopt(layout.hub, view)
    _update_links(layout, view)
    # The age of a view is the time since its last refresh.
    os.utime(view)


def _adopt_abandoned(layout: Layout) -> None:
    now = time.time()
    for name in names_in(layout.views):
        view = os.path.join(layout.views, name)
        if view != layout.view and is_folder(view) and now - os.lstat(view).st_mtime > _ABANDONED_AFTER:
            _adopt(layout.hub, view)


def _adopt(hub: str, view: str) -> None:
    """Moves repositories that jobs downloaded into a view to the hub."""
    for repository in repositories(view):
        source, target = os.path.join(view, repository), os.path.join(hub, repository)
        if not is_folder(source):
            continue
        try:
            _move(source, target)
            link(target, source)
        except OSError as error:
            # The hub has a link to a folder that can't be changed, as of models that RunPod caches.
            if error.errno not in (errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM):
                raise


def _move(source: str, target: str) -> None:
    """Moves a repository. If the target exists, moves what is missing there, and newer references."""
    if not os.path.lexists(target):
        try:
            rename(source, target)
            return
        except OSError as error:
            # Another container was faster.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    # Blobs first, so that no snapshot refers to a missing one.
    for path, entry in sorted(files_below(source), key=lambda found: not found[0].startswith("blobs/")):
        progress()
        new = os.path.join(target, path)
        is_newer = path.startswith("refs/") and _is_newer(entry.path, new)
        if is_newer or not os.path.lexists(new):
            make_folders(os.path.dirname(new), 0o777)
            rename(entry.path, new)
    remove_all({"path": source})


def _is_newer(path: str, other: str) -> bool:
    try:
        return os.lstat(path).st_mtime > os.lstat(other).st_mtime
    except FileNotFoundError:
        return True


def _update_links(layout: Layout, view: str) -> None:
    """Links what is in the hub, and removes links to what is not."""
    # A job that finds no folder of locks would create one that other containers don't see.
    make_folders(os.path.join(layout.hub, _LOCKS), 0o777)
    wanted = {*repositories(layout.hub), _LOCKS}
    existing = set(names_in(view))
    copied = set(repositories(layout.local))
    for name in sorted(wanted - existing):
        folder = layout.local if name in copied else layout.hub
        link(os.path.join(folder, name), os.path.join(view, name))
    for name in existing - wanted:
        path = os.path.join(view, name)
        if os.path.islink(path):
            with in_parent(path) as (folder, last):
                os.unlink(last, dir_fd=folder)


# -- Copies


def make_repository(layout: Layout, repository: str) -> None:
    """The local folder of a repository, which looks the same as that on the volume."""
    source, local = os.path.join(layout.hub, repository), os.path.join(layout.local, repository)
    os.makedirs(os.path.join(local, "snapshots"), exist_ok=True)
    os.makedirs(layout.copies(repository), exist_ok=True)
    for part in _SHARED_PARTS:
        target, path = os.path.join(source, part), os.path.join(local, part)
        if os.path.lexists(path):
            continue
        try:
            make_folders(target, 0o777)
            link(target, path)
        except OSError:
            # The repository is a link: RunPod caches it. Libraries fail if the target of a link is missing.
            if os.path.isdir(target):
                link(target, path)
            else:
                os.makedirs(path, exist_ok=True)
    for revision in names_in(os.path.join(source, "snapshots")):
        link(os.path.join(source, "snapshots", revision), os.path.join(local, "snapshots", revision))


def mirror(layout: Layout, repository: str, revision: str) -> str:
    """Links the files of a snapshot that are not copied yet; returns the folder of the copies."""
    make_repository(layout, repository)
    source = layout.snapshot(repository, revision)
    copies = os.path.join(layout.copies(repository), revision)
    os.makedirs(copies, exist_ok=True)
    existing = {path for path, _ in files_below(copies)}
    for path, entry in files_below(source):
        if path not in existing:
            target = os.path.join(copies, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            link(entry.path, target)
    relink(os.path.join("..", "copies", revision), os.path.join(layout.local, repository, "snapshots", revision))
    return copies


def show(layout: Layout, repository: str) -> None:
    """Makes jobs use the local folder of a repository."""
    path, target = os.path.join(layout.view, repository), os.path.join(layout.local, repository)
    if os.path.islink(path) and os.readlink(path) != target:
        relink(target, path)


def _publish_snapshots(layout: Layout, repository: str) -> None:
    """Repeats links to blobs that jobs created in local snapshots on the volume, where the blobs are."""
    if not os.path.isdir(os.path.join(layout.hub, repository)):
        return
    snapshots = os.path.join(layout.local, repository, "snapshots")
    for revision in names_in(snapshots):
        path = os.path.join(snapshots, revision)
        copies = os.path.join(layout.copies(repository), revision)
        if is_folder(path):
            # A new revision: its links are relative to a folder at the same depth.
            os.rename(path, copies)
            relink(os.path.join("..", "copies", revision), path)
        if not is_folder(copies):
            continue
        published = layout.snapshot(repository, revision)
        for name, entry in files_below(copies):
            target = os.readlink(entry.path) if entry.is_symlink() else "/"
            if not os.path.isabs(target):
                _publish_link(target, os.path.join(published, name), entry.path)


def _publish_link(target: str, path: str, local: str) -> None:
    try:
        make_folders(os.path.dirname(path), 0o777)
        link(target, path)
        relink(path, local)
    except OSError as error:
        # As in _adopt: it stays in the container.
        if error.errno not in (errno.ELOOP, errno.EROFS, errno.EACCES, errno.EPERM):
            raise


def _copied_snapshots(layout: Layout) -> list[tuple[str, str]]:
    return [
        (repository, revision)
        for repository in repositories(layout.local)
        for revision in names_in(layout.copies(repository))
    ]


def copied_bytes(layout: Layout, repository: str, revision: str) -> int:
    folder = os.path.join(layout.copies(repository), revision)
    if not os.path.isdir(folder):
        return 0
    return sum(entry.stat(follow_symlinks=False).st_size for _, entry in files_below(folder) if not entry.is_symlink())


def all_copied_bytes(layout: Layout) -> int:
    return sum(copied_bytes(layout, *snapshot) for snapshot in _copied_snapshots(layout))


def _evict(layout: Layout, hot: list[tuple[str, str]], limit: int) -> None:
    """Removes copies that are not hot, the least recently used ones beyond the limit, and unfinished ones."""
    used = 0
    kept: set[tuple[str, str]] = set()
    for model in hot:
        used += copied_bytes(layout, *model)
        if used <= limit and layout.has(*model):
            kept.add(model)
    for name in names_in(layout.local):
        if name.startswith(".partial-"):
            os.unlink(os.path.join(layout.local, name))
    for snapshot in _copied_snapshots(layout):
        if snapshot not in kept:
            _remove_copy(layout, *snapshot)


def _remove_copy(layout: Layout, repository: str, revision: str) -> None:
    snapshot = os.path.join(layout.local, repository, "snapshots", revision)
    if layout.has(repository, revision):
        relink(layout.snapshot(repository, revision), snapshot)
    else:
        os.unlink(snapshot)
    remove_all({"path": os.path.join(layout.copies(repository), revision)})
    if not names_in(layout.copies(repository)):
        path = os.path.join(layout.view, repository)
        if os.path.islink(path):
            relink(os.path.join(layout.hub, repository), path)
        remove_all({"path": os.path.join(layout.local, repository)})


# -- What is cached


def list_models(args: dict[str, Any]) -> list[dict[str, Any]]:
    """Repositories of the hub with the size of their blobs and of local copies; null for sizes that take too long."""
    layout = layout_of(args)
    end = time.monotonic() + args["seconds"]
    return [
        {
            "name": repository,
            "bytes": _size_of(os.path.join(layout.hub, repository), end),
            "localBytes": sum(
                copied_bytes(layout, repository, revision) for revision in names_in(layout.copies(repository))
            ),
        }
        for repository in repositories(layout.hub)
    ]


def _size_of(repository: str, end: float) -> Optional[int]:
    """In apparent bytes. Links in snapshots are not followed, because their blobs are counted."""
    size = 0
    try:
        for _, entry in files_below(repository):
            progress()
            if time.monotonic() > end:
                return None
            if not entry.is_symlink():
                size += entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        # A download replaces files meanwhile, or the target of the link is missing.
        return None
    return size


def touch(args: dict[str, Any]) -> None:
    """Marks the folders that exist as used now."""
    for path in args["paths"]:
        try:
            os.utime(path)
        except FileNotFoundError:
            pass
