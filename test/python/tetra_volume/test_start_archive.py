"""Archives that contain what a new copy of a virtual environment needs first."""

import errno
import os

import pytest
from venv_copies import SITE, TAG, content, copied, write

from tetra_volume.packages import start_archive
from tetra_volume.packages.archives import link, survey, unpack
from tetra_volume.packages.start_archive import complete, pack_start

PACKAGES = {
    "big": {
        "big/__init__.py": "",
        "big/data.txt": "d",
        "big/used/__init__.py": "U = 1\n",
        "big/used/deep/__init__.py": "",
        "big/unused/__init__.py": "N = 1\n",
        "big/unused/deep/__init__.py": "",
    },
    "other": {"other/__init__.py": "", "../../../bin/other": "#!"},
}


@pytest.fixture
def prefix(venv):
    return venv(**PACKAGES)


def started(prefix, store, target, folders):
    """A copy made of the start archive, and what it links."""
    links = survey({"prefix": str(prefix), "tag": TAG})["links"]
    args = {"prefix": str(prefix), "tag": TAG, "links": links, "store": str(store), "folders": folders}
    archive = pack_start(args)
    target.mkdir()
    unpack({"archive": str(store / archive["archive"]), "target": str(target), "priority": "normal"})
    link({"prefix": str(prefix), "target": str(target), "links": archive["links"]})
    return archive


def finish(prefix, store, tmp_path, archive):
    aside = copied(prefix, store, tmp_path / "aside")
    links = survey({"prefix": str(prefix), "tag": TAG})["links"]
    for path in links:
        os.unlink(aside / path)
    complete(
        {
            "prefix": str(prefix),
            "target": str(tmp_path / "copy"),
            "aside": str(aside),
            "links": links,
            "deferred": [path for path in archive["links"] if path not in links],
        }
    )
    assert not aside.exists()


def test_a_copy_has_the_folders_of_used_modules_and_links_the_other_ones(prefix, store, tmp_path):
    archive = started(prefix, store, tmp_path / "copy", [f"{SITE}/big", f"{SITE}/big/used"])
    assert archive["links"] == [f"{SITE}/big/unused", f"{SITE}/big/used/deep", f"{SITE}/other"]
    site = tmp_path / "copy" / SITE
    assert (site / "big/used/__init__.py").read_text() == "U = 1\n"
    assert not (site / "big/used").is_symlink()
    assert (site / "big/data.txt").read_text() == "d"
    assert os.readlink(site / "big/unused") == str(prefix / SITE / "big/unused")
    assert (site / "big-1.0.dist-info/METADATA").exists()
    assert not (site / "big-1.0.dist-info").is_symlink()
    assert (tmp_path / "copy/bin/other").exists()
    assert archive["files"] == len(content(tmp_path / "copy")) - len(archive["links"])


def test_a_copy_has_everything_if_it_is_not_known_what_is_used(prefix, store, tmp_path):
    archive = started(prefix, store, tmp_path / "copy", None)
    assert archive["links"] == []
    assert content(tmp_path / "copy") == content(copied(prefix, store, tmp_path / "whole"))


@pytest.mark.parametrize("exchange", [True, False])
def test_the_rest_is_copied_later_and_then_the_copy_has_no_links(
    prefix,
    store,
    tmp_path,
    monkeypatch,
    exchange,
):
    if not exchange:
        monkeypatch.setattr(start_archive.ctypes, "CDLL", lambda *_args, **_options: object())
    archive = started(prefix, store, tmp_path / "copy", [f"{SITE}/big"])
    write(tmp_path / "copy" / SITE, {"big/data.txt": "edited by a job"})
    finish(prefix, store, tmp_path, archive)
    whole = content(copied(prefix, store, tmp_path / "whole"))
    assert content(tmp_path / "copy") == {**whole, f"{SITE}/big/data.txt": b"edited by a job"}
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))


def test_what_a_job_has_replaced_or_removed_stays_so(prefix, store, tmp_path):
    archive = started(prefix, store, tmp_path / "copy", [f"{SITE}/big"])
    site = tmp_path / "copy" / SITE
    (site / "other").unlink()
    (site / "big/unused").unlink()
    write(site, {"big/unused/__init__.py": "job"})
    finish(prefix, store, tmp_path, archive)
    assert not (site / "other").exists()
    assert (site / "big/unused/__init__.py").read_text() == "job"


def test_large_files_and_folders_without_code_stay_links(venv, store, tmp_path):
    large = os.urandom(65 * 1024 * 1024)
    prefix = venv(
        big={"big/__init__.py": "", "big/lib.so": large, "big/unused/__init__.py": "", "big/unused/x.so": large}
    )
    archive = started(prefix, store, tmp_path / "copy", [f"{SITE}/big"])
    assert archive["links"] == [f"{SITE}/big/lib.so", f"{SITE}/big/unused"]
    finish(prefix, store, tmp_path, archive)
    site = tmp_path / "copy" / SITE
    assert (site / "big/lib.so").is_symlink()
    assert not (site / "big/unused").is_symlink()
    assert os.readlink(site / "big/unused/x.so") == str(prefix / SITE / "big/unused/x.so")


def test_another_error_of_the_exchange_is_reported(tmp_path):
    with pytest.raises(OSError) as caught:
        start_archive._exchange(str(tmp_path / "missing"), str(tmp_path / "also"))
    assert caught.value.errno == errno.ENOENT
