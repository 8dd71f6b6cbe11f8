"""Whether the archive of a package has what was released under its name and version."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator
from typing import IO, Any, Optional

from ..context import finish_program, progress, start_program
from ..paths import failure, open_file
from .bytecode import LOW_PRIORITY
from .installed import site_packages

_CHUNK = 1024 * 1024


def verify(args: dict[str, Any]) -> bool:
    """Whether `archive` has all files of the package `record` of the venv `prefix`, with the content that RECORD says.

    A job may have edited modules in the venv, or an install was incomplete while the package was packed.
    """
    prefix = args["prefix"]
    expected = _expected(prefix, site_packages(prefix), args["record"])
    if not expected:
        return False
    found = dict(_digests(args["archive"]))
    return all(path in found and digest in (None, found[path]) for path, digest in expected.items())


def _expected(prefix: str, site: str, record: str) -> dict[str, Optional[str]]:
    """The files of a package, and their digests as far as they are recorded. Bytecode may be missing."""
    own = os.path.join(site, record, "RECORD")
    try:
        with open(os.path.join(prefix, own), "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return {}
    lines = content.decode("utf-8", "surrogateescape").splitlines()
    expected: dict[str, Optional[str]] = {}
    for row in csv.reader(lines):
        if row and not row[0].endswith(".pyc"):
            expected[os.path.normpath(os.path.join(site, row[0]))] = (row[1] if len(row) > 1 else "") or None
    expected[own] = _format(hashlib.sha256(content).digest())
    return expected


def _format(digest: bytes) -> str:
    """A digest in the format of RECORD."""
    return f"sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _digests(archive: str) -> Iterator[tuple[str, str]]:
    """The regular files in an archive, and the digests of their content."""
    with open(open_file(archive, os.O_RDONLY), "rb") as packed:
        if not archive.endswith(".zst"):
            yield from _digests_in(archive, packed)
            return
        command = [*LOW_PRIORITY, "zstd", "-q", "-d", "-c"]
        program = start_program(command, stdin=packed.fileno(), stdout=subprocess.PIPE)
        try:
            if program.stdout is not None:
                with program.stdout:
                    yield from _digests_in(archive, program.stdout)
        finally:
            finish_program(program)


def _digests_in(archive: str, stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as files:
            for member in files:
                content = files.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, _format(_digest_of(content))
    except tarfile.TarError as error:
        raise failure(errno.EBADMSG, archive, f"the archive can't be read ({error})") from error


def _digest_of(content: IO[bytes]) -> bytes:
    digest = hashlib.sha256()
    while True:
        progress()
        chunk = content.read(_CHUNK)
        if not chunk:
            return digest.digest()
        digest.update(chunk)
