"""Archives of installed packages on the volume, and copies of virtual environments made of them.

On a network volume many small files are slow and few large ones are fast. An archive has the files of one package, or
those that belong to no package, and is named by its digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from typing import IO, Any, Callable, Optional

from ..context import finish_program, progress, start_program
from ..paths import failure, in_parent, open_file
from .bytecode import LOW_PRIORITY
from .installed import (
    Distribution,
    distribution,
    distributions,
    is_linked,
    linked_paths,
    other_files,
    recorded_paths,
    records,
    site_packages,
)

_CHUNK = 1024 * 1024

_Program = subprocess.Popen[bytes]


def survey(args: dict[str, Any]) -> dict[str, Any]:
    """The packages of the venv `prefix`, and what copies of it link to it instead of copying it."""
    prefix = args["prefix"]
    site = os.path.join(prefix, site_packages(prefix))
    packages = distributions(prefix, args["tag"])
    links = linked_paths(packages)
    linked = set(links)

    def is_shareable(package: Distribution) -> bool:
        """Whether its name and version tell its content, and its archive has all of it."""
        is_from_url = os.path.exists(os.path.join(site, package.record, "direct_url.json"))
        return not is_from_url and not any(is_linked(path, linked) for path in package.files)

    return {
        "packages": [
            {
                "record": package.record,
                "name": package.name,
                "version": package.version,
                "isShareable": is_shareable(package),
            }
            for package in packages
        ],
        "links": links,
    }


def pack(args: dict[str, Any]) -> dict[str, Any]:
    """Packs a package of the venv `prefix` into an archive in `folder`: the one of `record`, or what belongs to none.

    Returns the archive's name, and the number and size of its files. An archive gets its name after its content was
    written and closed without an error, so it is complete.
    """
    prefix, folder, linked = args["prefix"], args["folder"], set(args["links"])
    files = [path for path in _files_to_pack(prefix, args["tag"], args["record"]) if not is_linked(path, linked)]
    return write_archive(prefix, files, folder)


def write_archive(prefix: str, files: Sequence[str], folder: str) -> dict[str, Any]:
    """Packs files, given by their paths in `prefix`, into an archive in `folder`. Returns what `pack` returns."""
    size = sum(os.lstat(os.path.join(prefix, path)).st_size for path in files)
    temporary = os.path.join(folder, f".packing-{uuid.uuid4().hex}")
    is_compressed = shutil.which("zstd") is not None
    try:
        digest = _write_archive(prefix, files, is_compressed, temporary)
        name = f"{digest}.tar.zst" if is_compressed else f"{digest}.tar"
        with in_parent(temporary) as (parent, old):
            os.rename(old, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        _remove(temporary)
        raise
    return {"archive": name, "files": len(files), "size": size}


def _remove(path: str) -> None:
    try:
        with in_parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
    except OSError:
        pass


def _files_to_pack(prefix: str, tag: str, record: Optional[str]) -> list[str]:
    site = site_packages(prefix)
    if record is not None:
        return sorted(distribution(prefix, site, record, tag).files)
    owned = {path for each in records(prefix, site) for path in recorded_paths(prefix, site, each, tag)}
    return other_files(prefix, owned)


def _write_archive(prefix: str, files: Sequence[str], is_compressed: bool, target: str) -> str:
    tar = ["tar", "-c", "-f", "-", "-C", prefix, "--no-recursion", "--hard-dereference", "--owner=0", "--group=0"]
    commands = [[*LOW_PRIORITY, *tar, "--null", "-T", "-"]]
    if is_compressed:
        commands.append([*LOW_PRIORITY, "zstd", "-q", "-1", "-c"])
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as names, _create(target) as archive:
        names.write(b"".join(os.fsencode(path) + b"\0" for path in files))
        names.seek(0)
        programs = _pipeline(commands, names.fileno())
        output = _stdout_of(programs[-1])
        try:
            _copy(output, archive, digest.update)
        finally:
            # The programs end, even if not all of their output was read.
            output.close()
            codes = [finish_program(program) for program in programs]
        if any(codes):
            raise failure(errno.EIO, target, "packing failed")
        archive.flush()
        # A quota that is used up is often reported only by these.
        os.fsync(archive.fileno())
    return digest.hexdigest()


def _create(path: str) -> IO[bytes]:
    return open(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def _stdout_of(program: _Program) -> IO[bytes]:
    if program.stdout is None:
        raise ValueError("the output of the program is not a pipe")
    return program.stdout


def _pipeline(commands: Sequence[Sequence[str]], stdin: int) -> list[_Program]:
    """Starts programs of which each one reads what the one before writes."""
    programs: list[_Program] = []
    for command in commands:
        program = start_program(command, stdin=stdin, stdout=subprocess.PIPE)
        if programs:
            _stdout_of(programs[-1]).close()
        programs.append(program)
        stdin = _stdout_of(program).fileno()
    return programs


def _copy(source: IO[bytes], target: IO[bytes], see: Callable[[bytes], object] = len) -> None:
    while True:
        chunk = source.read(_CHUNK)
        if not chunk:
            return
        see(chunk)
        target.write(chunk)
        progress()


def unpack(args: dict[str, Any]) -> None:
    """Unpacks `archive` into the local folder `target`, after its digest was checked. A damaged archive is removed."""
    archive, target = args["archive"], args["target"]
    priority = LOW_PRIORITY if args["priority"] == "background" else ()
    # Without a name, so that nothing of it remains if this process is killed.
    with tempfile.TemporaryFile(dir=target) as verified:
        digest = hashlib.sha256()
        with open(open_file(archive, os.O_RDONLY), "rb", buffering=0) as source:
            _copy(source, verified, digest.update)
        if digest.hexdigest() != os.path.basename(archive).split(".")[0]:
            _remove(archive)
            raise failure(errno.EBADMSG, archive, "the archive was damaged, and is removed")
        verified.seek(0)
        commands = [[*priority, "tar", "-x", "-f", "-", "-C", target, "--no-same-owner"]]
        if archive.endswith(".zst"):
            commands.insert(0, [*priority, "zstd", "-q", "-d", "-c"])
        codes = _feed(verified, commands)
    if any(codes):
        raise failure(errno.EIO, target, "unpacking failed")


def _feed(content: IO[bytes], commands: Sequence[Sequence[str]]) -> list[int]:
    """Writes a content to programs, and returns their exit codes."""
    programs = _pipeline(commands, subprocess.PIPE)
    first = programs[0].stdin
    try:
        if first is not None:
            with first:
                _copy(content, first)
    except BrokenPipeError:
        pass  # The exit code tells why.
    finally:
        codes = [finish_program(program) for program in programs]
    return codes


def link(args: dict[str, Any]) -> None:
    """Creates links for the paths of a venv that its copy `target` has not copied."""
    prefix, target = args["prefix"], args["target"]
    for path in args["links"]:
        at = os.path.join(target, path)
        os.makedirs(os.path.dirname(at), exist_ok=True)
        os.symlink(os.path.join(prefix, path), at)
