"""The checks of installed files, in a folder that looks like a virtual environment."""

import os
import types

import pytest

from tetra_volume.packages import installs

# Times of files, and of the marker between them. The tests don't depend on the resolution of the clock.
OLD, BEGAN, NEW = 1_000_000_000, 2_000_000_000, 3_000_000_000


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """A virtual environment in which `write` creates old or new files."""
    folder = tmp_path / "lib" / "python3.12" / "site-packages"
    marker = tmp_path / ".marker"
    times = {str(marker): BEGAN}
    real = os.lstat

    def lstat(path, **options):
        """Nothing can set the ctime of a file, so it is replaced here."""
        info = real(path, **options)
        seconds = times.get(str(path), OLD)
        return types.SimpleNamespace(st_mode=info.st_mode, st_size=info.st_size, st_ctime_ns=seconds * 10**9)

    def write(name, content="content", time=OLD):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        times[os.path.normpath(path)] = time

    def record(distribution, sizes, time=OLD):
        rows = [f"{path},sha256=x,{size}\n" for path, size in sizes.items()]
        own = f"{distribution}.dist-info/RECORD"
        write(own, "".join([*rows, f"{own},,\n"]), time)

    def paths():
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}

    def restore(*before):
        arguments = {"prefix": str(tmp_path), "folder": str(folder), "before": before, "marker": str(marker)}
        return installs.restore(arguments)

    folder.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    write("../../../bin/python")
    marker.touch()
    monkeypatch.setattr(installs, "os", types.SimpleNamespace(**{**vars(os), "lstat": lstat}))
    return types.SimpleNamespace(folder=folder, write=write, record=record, paths=paths, restore=restore)


def verify(venv, *before):
    return installs.verify({"folder": str(venv.folder), "before": before})


def test_complete_packages_are_not_reported(venv):
    venv.write("one/a.py", "12345")
    venv.write("one/empty.py", "")
    venv.write("../../../bin/one", "12")
    venv.record("one-1", {"one/a.py": 5, "one/empty.py": 0, "../../../bin/one": 2})
    assert verify(venv) == []


@pytest.mark.parametrize("path", ["one/a.py", "../../../bin/one", '"one/a,b.py"'])
def test_an_empty_file_is_reported_with_its_package(venv, path):
    venv.write(path.strip('"'), "")
    venv.record("one-1", {path: 5})
    file = os.path.normpath(venv.folder / path.strip('"'))
    assert verify(venv) == [{"package": "one-1.dist-info", "file": file, "isEmpty": True}]


def test_a_file_that_is_too_short_is_reported_unless_another_one_is_empty(venv):
    venv.write("one/a.py", "1234")
    venv.record("one-1", {"one/a.py": 5})
    assert [found["isEmpty"] for found in verify(venv)] == [False]
    venv.write("one/b.py", "")
    venv.record("one-1", {"one/a.py": 5, "one/b.py": 5})
    assert [found["isEmpty"] for found in verify(venv)] == [True]


def test_an_empty_record_is_reported(venv):
    venv.write("one-1.dist-info/RECORD", "")
    record = str(venv.folder / "one-1.dist-info" / "RECORD")
    assert verify(venv) == [{"package": "one-1.dist-info", "file": record, "isEmpty": True}]


def test_missing_files_longer_files_and_files_without_a_size_are_not_reported(venv):
    venv.write("one/longer.py", "123456")
    venv.write("one/cache.pyc", "")
    venv.record("one-1", {"one/missing.py": 5, "one/longer.py": 5, "one/cache.pyc": ""})
    assert verify(venv) == []


def test_packages_that_were_there_before_are_not_read(venv):
    venv.write("one-1.dist-info/RECORD", "")
    assert verify(venv, "one-1.dist-info") == []


def test_a_failed_install_is_removed(venv):
    venv.record("old-1", {"shared/old.py": 7})
    venv.write("shared/old.py")
    venv.write("shared/unowned.txt")
    before = venv.paths()
    venv.record("one-1", {"one/a.py": 7, "shared/one/b.py": 7, "../../../bin/one": 7}, NEW)
    for name in ["one/a.py", "one/__pycache__/a.pyc", "shared/one/b.py", "shared/.tmp123", "../../../bin/one"]:
        venv.write(name, time=NEW)
    # In the second of the marker, on a file system whose times are whole seconds.
    venv.write("half/c.py", time=BEGAN)
    venv.write("one/d.py", time=BEGAN)
    assert venv.restore("old-1.dist-info", "shared") is True
    assert venv.paths() == before
    assert sorted(path.name for path in venv.folder.iterdir()) == ["old-1.dist-info", "shared"]
    assert sorted(path.name for path in (venv.folder / "shared").iterdir()) == ["old.py", "unowned.txt"]


def test_what_a_file_was_before_the_second_of_the_marker_is_kept(venv):
    venv.record("old-1", {"shared/old.py": 7})
    venv.write("shared/old.py")
    venv.write("shared/written-by-a-job.txt", time=BEGAN)
    before = venv.paths()
    assert venv.restore("old-1.dist-info", "shared") is True
    assert venv.paths() == before


def test_a_venv_is_not_intact_if_the_install_emptied_a_file_of_another_package(venv):
    venv.record("old-1", {"shared/old.py": 7})
    venv.write("shared/old.py", "", time=BEGAN)
    assert venv.restore("old-1.dist-info", "shared") is False
    assert "lib/python3.12/site-packages/shared/old.py" in venv.paths()


def test_files_of_other_packages_that_were_overwritten_are_kept(venv):
    venv.record("old-1", {"shared/old.py": 7})
    venv.write("shared/old.py", time=NEW)
    venv.record("one-1", {"shared/old.py": 7, "one/a.py": 7}, NEW)
    venv.write("one/a.py", "", time=NEW)
    assert venv.restore("old-1.dist-info", "shared") is True
    assert "lib/python3.12/site-packages/shared/old.py" in venv.paths()
    assert not (venv.folder / "one").exists()


def test_links_are_removed_but_not_followed(venv, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    (venv.folder / "one").symlink_to(elsewhere)
    assert venv.restore() is True
    assert not (venv.folder / "one").is_symlink()
    assert (elsewhere / "file").exists()
