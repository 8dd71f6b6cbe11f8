import pytest

from tetra_volume import paths


@pytest.fixture
def volume(tmp_path):
    """A volume that others can write to."""
    folder = tmp_path / "volume"
    folder.mkdir()
    paths.set_roots([str(folder)])
    yield folder
    paths.set_roots([])


@pytest.fixture
def outside(tmp_path):
    """A folder next to the volume that must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("precious")
    yield folder
    assert sorted(entry.name for entry in folder.iterdir()) == ["file"]
    assert (folder / "file").read_text() == "precious"
