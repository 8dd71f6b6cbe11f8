import os

import pytest

from tetra_volume import sizes


def measure(path, seconds=10.0):
    return sizes.measure({"path": str(path), "seconds": seconds})


def test_sizes_of_files_are_added_up(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_text("12345")
    (tmp_path / "a" / "b" / "two").write_text("123")
    (tmp_path / "a" / "link").symlink_to("/")
    # Sparse, so its blocks are much smaller.
    with open(tmp_path / "a" / "sparse", "wb") as file:
        file.truncate(1_000_000)
    assert measure(tmp_path) == {"bytes": 1_000_008, "isComplete": True}


def test_a_file_has_its_size(tmp_path):
    (tmp_path / "one").write_text("12345")
    assert measure(tmp_path / "one") == {"bytes": 5, "isComplete": True}


def test_a_file_with_several_names_counts_once(tmp_path):
    (tmp_path / "one").write_text("12345")
    os.link(tmp_path / "one", tmp_path / "two")
    assert measure(tmp_path) == {"bytes": 5, "isComplete": True}


def test_a_folder_that_does_not_exist_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "missing")


def test_the_result_is_not_complete_after_the_deadline(tmp_path):
    (tmp_path / "one").write_text("12345")
    assert measure(tmp_path, 0.0)["isComplete"] is False


def test_a_folder_that_can_not_be_read_fails_with_the_reason(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(sizes.os, "scandir", scandir)
    with pytest.raises(PermissionError):
        measure(tmp_path)
