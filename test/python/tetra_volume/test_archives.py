import os
import shutil
import subprocess
import sys

import pytest
from venv_copies import SITE, TAG, content, copied, packed, write

from tetra_volume.packages import installed
from tetra_volume.packages.archives import survey, unpack
from tetra_volume.packages.bytecode import compile_packages


def test_a_copy_has_all_files_of_the_packages_their_scripts_and_the_venv_but_not_the_workers_records(
    venv, store, tmp_path
):
    prefix = venv(a={"a/__init__.py": "A = 1\n", "../../../bin/a": "#!/bin/sh\n"}, b={"b.py": "B = 1\n"})
    os.symlink("lib", prefix / "lib64")
    (prefix / "bin/a").chmod(0o755)
    copy = copied(prefix, store, tmp_path / "copy")
    expected = content(prefix)
    del expected[".worker-tetra-complete"]
    assert content(copy) == expected
    assert os.access(copy / "bin/a", os.X_OK)


def test_modules_are_compiled_once_and_their_bytecode_is_valid_in_a_copy(venv, store, tmp_path):
    prefix = venv(a={"a/__init__.py": "A = 1\n", "a/broken.py": "this is no Python"})
    args = {"prefix": str(prefix), "tag": TAG, "python": sys.executable}
    assert compile_packages(args) == 2
    cache = prefix / SITE / "a/__pycache__" / f"__init__.{TAG}.pyc"
    assert cache.exists()
    assert compile_packages(args) == 1, "only the module that can't be compiled is tried again"
    copy = copied(prefix, store, tmp_path / "copy")
    program = f"import sys; sys.path.insert(0, {str(copy / SITE)!r}); import a; print(a.__cached__, a.__file__)"
    # A module without valid bytecode is compiled again, which fails in a folder without write permission.
    before = (copy / SITE / "a/__pycache__" / cache.name).stat().st_mtime_ns
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.split()[1] == str(copy / SITE / "a/__init__.py")
    assert (copy / SITE / "a/__pycache__" / cache.name).stat().st_mtime_ns == before


def test_what_is_edited_in_a_copy_does_not_change_the_venv(venv, store, tmp_path):
    prefix = venv(a={"a.py": "A = 1\n"})
    copy = copied(prefix, store, tmp_path / "copy")
    (copy / SITE / "a.py").write_text("A = 2\n")
    assert (prefix / SITE / "a.py").read_text() == "A = 1\n"


def test_large_files_and_headers_of_large_packages_are_links_and_all_code_is_copied(venv, store, tmp_path, monkeypatch):
    monkeypatch.setattr(installed, "LARGE_FILE", 1000)
    monkeypatch.setattr(installed, "MAX_LARGE_BYTES", 1500)
    headers = {f"nvidia/include/{number}.h": "" for number in range(20)}
    prefix = venv(
        large={"nvidia/one/__init__.py": "", "nvidia/one/lib.so": b"l" * 2000, **headers},
        other={"nvidia/two/__init__.py": "", "nvidia/two/lib.so": b"s" * 1200},
    )
    found = survey({"prefix": str(prefix), "tag": TAG})
    assert found["links"] == [f"{SITE}/nvidia/include", f"{SITE}/nvidia/one/lib.so"]
    assert [package["isShareable"] for package in found["packages"]] == [False, True]
    copy = copied(prefix, store, tmp_path / "copy")
    assert os.readlink(copy / SITE / "nvidia/include") == str(prefix / SITE / "nvidia/include")
    assert not (copy / SITE / "nvidia/two/lib.so").is_symlink()
    assert not (copy / SITE / "nvidia/one/__init__.py").is_symlink()
    shutil.rmtree(store)
    assert (copy / SITE / "nvidia/one/lib.so").read_bytes() == b"l" * 2000


def test_a_folder_of_headers_is_no_link_if_a_small_package_has_files_in_it(venv, monkeypatch):
    monkeypatch.setattr(installed, "LARGE_FILE", 1000)
    monkeypatch.setattr(installed, "MAX_LARGE_BYTES", 1500)
    headers = {f"nvidia/include/{number}.h": "" for number in range(20)}
    prefix = venv(large={"lib.so": b"l" * 2000, **headers}, small={"nvidia/include/small.h": ""})
    assert survey({"prefix": str(prefix), "tag": TAG})["links"] == [f"{SITE}/lib.so"]


def test_a_package_from_a_url_is_not_shareable(venv):
    prefix = venv(a={"a.py": ""}, b={"b.py": "", "b-1.0.dist-info/direct_url.json": "{}"})
    packages = survey({"prefix": str(prefix), "tag": TAG})["packages"]
    assert {package["name"]: package["isShareable"] for package in packages} == {"a": True, "b": False}


def test_packages_of_the_image_belong_to_what_is_not_installed(venv, store, tmp_path):
    prefix = venv(a={"a.py": ""}, torch={"torch-1.0.dist-info/x": ""})
    write(prefix / SITE, {"torch-1.0.dist-info/INSTALLER": "worker-tetra-image\n", "image.pth": "/opt/image\n"})
    found = survey({"prefix": str(prefix), "tag": TAG})
    assert [package["name"] for package in found["packages"]] == ["a"]
    target = tmp_path / "copy"
    target.mkdir()
    unpack(
        {"archive": str(store / packed(prefix, store, None)["archive"]), "target": str(target), "priority": "normal"}
    )
    assert (target / SITE / "image.pth").exists()
    assert (target / SITE / "torch-1.0.dist-info/METADATA").exists()
    assert not (target / SITE / "a.py").exists()


def test_a_damaged_archive_is_removed_and_nothing_of_it_is_unpacked(venv, store, tmp_path):
    archive = store / packed(venv(a={"a.py": "A = 1\n"}), store, "a-1.0.dist-info")["archive"]
    archive.write_bytes(archive.read_bytes() + b"x")
    target = tmp_path / "copy"
    target.mkdir()
    with pytest.raises(OSError, match="the archive was damaged"):
        unpack({"archive": str(archive), "target": str(target), "priority": "normal"})
    assert list(target.iterdir()) == []
    assert list(store.iterdir()) == []


def test_an_archive_that_can_not_be_written_leaves_no_file(venv, store, monkeypatch):
    def full(_file):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Disk quota exceeded"):
        packed(venv(a={"a.py": ""}), store, "a-1.0.dist-info")
    assert list(store.iterdir()) == []


def test_packing_fails_without_a_file_if_the_disk_is_full_while_tar_writes(venv, store, monkeypatch):
    prefix = venv(a={"a.bin": os.urandom(8 * 1024 * 1024)})

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, _chunk):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tetra_volume.packages.archives._create", lambda _path: Full())
    with pytest.raises(OSError, match="No space left"):
        packed(prefix, store, "a-1.0.dist-info")
    assert list(store.iterdir()) == []


def test_archives_are_plain_without_zstd(venv, store, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    prefix = venv(a={"a.py": "A = 1\n"})
    copy = copied(prefix, store, tmp_path / "copy")
    assert {path.suffix for path in store.iterdir()} == {".tar"}
    assert (copy / SITE / "a.py").read_text() == "A = 1\n"


def test_paths_of_a_record_outside_of_the_venv_are_ignored(venv, store, tmp_path):
    write(tmp_path, {"secret": "s"})
    prefix = venv(a={"a.py": "", "../../../../secret": "s", str(tmp_path / "secret"): "s"})
    copy = copied(prefix, store, tmp_path / "copy")
    assert not any(path.endswith("secret") for path in content(copy))
