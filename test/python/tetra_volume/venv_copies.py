"""Virtual environments, their archives and their copies."""

import os
import sys
from pathlib import Path

from tetra_volume.packages.archives import link, pack, survey, unpack

TAG = sys.implementation.cache_tag or "cpython"
SITE = "lib/python3.12/site-packages"


def write(folder, files):
    for name, content in files.items():
        path = Path(os.path.normpath(folder / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def packed(prefix, store, record):
    links = survey({"prefix": str(prefix), "tag": TAG})["links"]
    return pack({"prefix": str(prefix), "tag": TAG, "record": record, "links": links, "folder": str(store)})


def copied(prefix, store, target):
    """A copy of a virtual environment."""
    target.mkdir()
    found = survey({"prefix": str(prefix), "tag": TAG})
    for record in [*(package["record"] for package in found["packages"]), None]:
        archive = packed(prefix, store, record)["archive"]
        unpack({"archive": str(store / archive), "target": str(target), "priority": "normal"})
    link({"prefix": str(prefix), "target": str(target), "links": found["links"]})
    return target


def content(folder):
    """The files of a folder by their relative paths; links are not followed."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
