import base64
import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from tetra_volume.packages.archives import pack
from tetra_volume.packages.verification import verify

TAG = sys.implementation.cache_tag or "cpython"
RECORD = "a-1.0.dist-info"
FILES = {"a/__init__.py": "A = 1\n", "a/data.bin": "data", f"{RECORD}/METADATA": "Name: a\n"}


@pytest.fixture
def site(tmp_path):
    """The folder of packages of a virtual environment with one package."""
    folder = tmp_path / "venv/lib/python3.12/site-packages"
    rows = [f"{name},{recorded(content.encode())},{len(content)}\n" for name, content in FILES.items()]
    for name, content in {**FILES, f"{RECORD}/INSTALLER": "uv"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    unhashed = [f"{RECORD}/INSTALLER", "a/__pycache__/not-compiled.pyc", f"{RECORD}/RECORD"]
    (folder / RECORD / "RECORD").write_text("".join([*rows, *(f"{name},,\n" for name in unhashed)]))
    return folder


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    return folder


def recorded(content):
    return f"sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')}"


def packed(site, store):
    args = {"prefix": str(site.parents[2]), "tag": TAG, "record": RECORD, "links": [], "folder": str(store)}
    return str(store / pack(args)["archive"])


def is_verified(site, archive):
    return verify({"prefix": str(site.parents[2]), "record": RECORD, "archive": archive})


def test_an_archive_with_all_files_as_they_were_released_is_verified_even_if_the_venv_changes_later(site, store):
    cache = site / "a/__pycache__" / f"__init__.{TAG}.pyc"
    cache.parent.mkdir()
    cache.write_bytes(b"bytecode")
    archive = packed(site, store)
    (site / "a/__init__.py").write_text("A = 2\n")
    assert is_verified(site, archive)


def test_an_archive_without_compression_is_verified(site, store, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert is_verified(site, packed(site, store))


@pytest.mark.parametrize("name", FILES)
def test_an_archive_with_an_edited_file_is_not_verified(site, store, name):
    edited = site / name
    edited.write_text(edited.read_text()[:-1] + "2")
    assert not is_verified(site, packed(site, store))


@pytest.mark.parametrize("name", [*FILES, f"{RECORD}/INSTALLER"])
def test_an_archive_without_a_file_that_the_package_should_have_is_not_verified(site, store, name):
    (site / name).unlink()
    assert not is_verified(site, packed(site, store))


def test_an_archive_that_was_packed_before_the_list_of_files_was_complete_is_not_verified(site, store):
    record = site / RECORD / "RECORD"
    complete = record.read_text()
    record.write_text("".join(complete.splitlines(keepends=True)[1:]))
    archive = packed(site, store)
    assert is_verified(site, archive)
    record.write_text(complete)
    assert not is_verified(site, archive)


@pytest.mark.parametrize("row", ["a/other.py,md5=x,1\n", "../../../../outside,,\n", "/etc/hostname,,\n"])
def test_a_package_with_files_that_can_not_be_checked_is_not_verified(site, store, row):
    with open(site / RECORD / "RECORD", "a") as record:
        record.write(row)
    (site / "a/other.py").write_text("")
    assert not is_verified(site, packed(site, store))


def test_a_package_without_a_list_of_files_is_not_verified(site, store):
    archive = packed(site, store)
    (site / RECORD / "RECORD").unlink()
    assert not is_verified(site, archive)


def test_a_damaged_archive_is_an_error(site, store):
    archive = Path(packed(site, store))
    archive.write_bytes(archive.read_bytes()[:20])
    with pytest.raises(OSError, match="can't be read"):
        is_verified(site, str(archive))
