"""Writes random archives with tarfile, and prints what tarfile unpacks from them.

Arguments: a folder for the archives, the first seed, and the number of archives. Output: a JSON list with one listing
for each archive: false if tarfile's filter "data" refuses it, and true if tarfile can't unpack it.
"""

import io
import json
import os
import random
import sys
import tarfile
import tempfile
from typing import Union

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
# Without it, in old releases of Python, links must not leave the folder.
HAS_FILTER = hasattr(tarfile, "data_filter")
PARTS = ("a", "b", "pkg", "日本", "x" * 90, "y" * 150)


def random_path(rng: random.Random) -> str:
    path = "/".join(rng.choice(PARTS) for _ in range(rng.randint(1, 3)))
    return rng.choice(("", "", "./")) + path


def random_link(rng: random.Random) -> str:
    up = rng.choice((0, 0, 0, 1, 2))
    return "../" * (up if HAS_FILTER else 0) + random_path(rng)


def add(archive: tarfile.TarFile, rng: random.Random, names: "list[str]") -> None:
    info = tarfile.TarInfo(random_path(rng))
    plain = os.path.normpath(info.name)
    # Python unpacks a name twice in another way than this worker: it follows an earlier link.
    if any(plain == name for name in names):
        return
    info.mode = rng.choice((0o644, 0o755, 0o600, 0o777))
    kind = rng.choice(("file", "file", "file", "folder", "link", "hard"))
    content = rng.randbytes(rng.choice((0, 3, 511, 512, 513, 70_000))).hex().encode()
    if kind == "file":
        info.size = len(content)
        if archive.format == tarfile.PAX_FORMAT:
            info.pax_headers = {"comment": "x" * rng.randint(0, 1200)}
        archive.addfile(info, io.BytesIO(content))
    else:
        info.type = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}[kind]
        if kind == "link":
            info.linkname = random_link(rng)
        elif kind == "hard":
            files = [one for one in archive.getmembers() if one.isfile()]
            if not files:
                return
            original = rng.choice(files)
            info.linkname, info.mode = original.name, original.mode
        archive.addfile(info)
    names.append(plain)


def describe(path: str) -> str:
    if os.path.islink(path):
        return f"link to {os.readlink(path)}"
    if os.path.isdir(path):
        return "folder"
    kind = "program" if os.stat(path).st_mode & 0o100 else "file"
    with open(path, encoding="utf-8") as file:
        return f"{kind}: {file.read()}"


def listing(folder: str) -> "dict[str, str]":
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(at, name)
            found[os.path.relpath(path, folder)] = describe(path)
    return found


def make(path: str, seed: int) -> "Union[dict[str, str], bool]":
    rng = random.Random(seed)
    with tarfile.open(path, "w:gz", format=rng.choice(FORMATS)) as archive:
        names: list[str] = []
        for _ in range(rng.randint(0, 8)):
            try:
                add(archive, rng, names)
            except ValueError:  # a name is too long for ustar
                continue
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        try:
            archive.extractall(folder, **({"filter": "data"} if HAS_FILTER else {}))
        except tarfile.TarError:
            return False
        except (OSError, KeyError, RecursionError):
            return True
        return listing(folder)


folder, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print(json.dumps([make(os.path.join(folder, str(seed)), seed) for seed in range(first, first + count)]))
