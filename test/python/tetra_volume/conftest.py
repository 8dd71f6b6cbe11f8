import pytest
from venv_copies import SITE, write

from tetra_volume import paths
from tetra_volume.context import Running, enter


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


@pytest.fixture(autouse=True)
def operation():
    """Tests run as operations do."""
    enter(Running(lambda: None))


@pytest.fixture
def venv(tmp_path):
    """A function that installs packages, given as their files, in a virtual environment."""
    prefix = tmp_path / "venv"
    write(prefix, {"pyvenv.cfg": "home = /usr/bin\n", "bin/activate": "", ".worker-tetra-complete": "[]"})

    def install(**packages):
        for name, files in packages.items():
            record = f"{name}-1.0.dist-info"
            write(prefix / SITE, {**files, f"{record}/METADATA": f"Name: {name}\n", f"{record}/INSTALLER": "uv\n"})
            listed = [*files, f"{record}/METADATA", f"{record}/INSTALLER", f"{record}/RECORD"]
            write(prefix / SITE, {f"{record}/RECORD": "".join(f"{file},,\n" for file in listed)})
        return prefix

    return install


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    return folder
