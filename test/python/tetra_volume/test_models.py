"""Views and local copies of models, on folders that stand for the volume and the container's disk."""

import fcntl
import os
import time

import pytest

from hub_cache import REVISION, Hub
from tetra_volume.models import copies as model_copies
from tetra_volume.models import view as models


@pytest.fixture
def hub(tmp_path):
    return Hub(tmp_path)


def test_a_view_shows_every_repository_of_the_hub_and_shares_its_locks(hub):
    hub.add("models--a--one", {"config.json": b"{}"})
    hub.add("datasets--a--two", {"data.csv": b"1"})
    link = hub.open_view()
    assert link == str(hub.local / "hub")
    assert sorted(os.listdir(link)) == [".locks", "datasets--a--two", "models--a--one"]
    assert hub.read("models--a--one", "config.json") == b"{}"
    assert os.path.samefile(os.path.join(link, ".locks"), hub.folder / ".locks")


def test_a_container_uses_its_view_again(hub):
    hub.open_view()
    first = os.readlink(hub.local / "hub")
    hub.open_view()
    assert os.readlink(hub.local / "hub") == first
    assert len(os.listdir(hub.views)) == 1


def test_a_container_whose_view_was_removed_gets_a_new_one(hub):
    hub.add("models--a--one", {"config.json": b"{}"})
    hub.open_view()
    models.remove_all({"path": os.readlink(hub.local / "hub")})
    hub.open_view()
    assert hub.read("models--a--one", "config.json") == b"{}"


def test_hot_models_are_copied_and_read_from_the_local_disk(hub):
    hub.add("models--a--one", {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "sub/x.txt": b"x"})
    hub.open_view()
    assert hub.copy() == {"isDone": True, "isFull": False, "bytes": 7003, "problems": []}
    for name in ("config.json", "model.safetensors", "sub/x.txt"):
        path = os.path.realpath(hub.path("models--a--one", name))
        assert path.startswith(str(hub.local)), path
    # The same content after the volume is gone proves that nothing is read from there.
    hub.folder.rename(hub.folder.with_name("gone"))
    assert (hub.local / "models--a--one/snapshots" / REVISION / "sub/x.txt").read_bytes() == b"x"


def test_a_copy_is_made_in_steps_and_jobs_read_the_volume_until_a_file_is_complete(hub, monkeypatch):
    monkeypatch.setattr(model_copies, "_CHUNK_BYTES", 1000)
    hub.add("models--a--one", {"model.safetensors": b"weights" * 1000})
    hub.open_view()
    steps = 0
    while not hub.copy(seconds=1e-9 if steps == 0 else 1e-5)["isDone"]:
        steps += 1
        assert hub.read("models--a--one", "model.safetensors") == b"weights" * 1000
    assert steps > 1
    assert [name for name in os.listdir(hub.local) if name.startswith(".partial-")] == []


def test_a_damaged_file_is_reported_and_not_copied(hub):
    hub.add("models--a--one", {"a.bin": b"good", "config.json": b"{}", "model.safetensors": b"weights" * 9})
    for name, content in (("model.safetensors", b"weightz" * 9), ("config.json", b"[]")):
        blob = os.path.realpath(hub.folder / "models--a--one/snapshots" / REVISION / name)
        with open(blob, "wb") as file:
            file.write(content)
    hub.open_view()
    result = hub.copy()
    assert len(result["problems"]) == 2
    assert result["bytes"] == 4
    assert hub.read("models--a--one", "config.json") == b"[]"
    assert hub.copy()["problems"] == []
    assert os.listdir(hub.local).count(".partial") == 0


def test_copies_stay_within_the_limit(hub):
    hub.add("models--a--one", {"a.bin": b"a" * 100, "b.bin": b"b" * 100})
    hub.open_view()
    assert hub.copy(limit=150) == {"isDone": True, "isFull": True, "bytes": 100, "problems": []}
    assert hub.read("models--a--one", "b.bin") == b"b" * 100


def test_copies_leave_free_space_on_the_disk(hub, monkeypatch):
    monkeypatch.setattr(model_copies, "_FREE_SHARE", 1.0)
    hub.add("models--a--one", {"a.bin": b"a" * 100})
    hub.open_view()
    assert hub.copy()["isFull"]


def test_models_that_are_not_hot_any_more_are_removed_at_the_next_start(hub):
    hub.add("models--a--one", {"a.bin": b"a"})
    hub.add("models--a--two", {"b.bin": b"b"})
    hub.open_view()
    hub.copy()
    hub.end_process()
    hub.hot = [{"name": "models--a--two", "revision": REVISION}]
    hub.open_view()
    assert models.repositories(str(hub.local)) == ["models--a--two"]
    assert hub.read("models--a--one", "a.bin") == b"a"
    assert hub.read("models--a--two", "b.bin") == b"b"


def test_copies_beyond_a_smaller_limit_are_removed_least_recently_used_first(hub):
    hub.add("models--a--one", {"a.bin": b"a" * 100})
    hub.add("models--a--two", {"b.bin": b"b" * 100})
    hub.open_view()
    hub.copy()
    hub.end_process()
    hub.open_view(limit=150)
    assert models.repositories(str(hub.local)) == ["models--a--one"]


def test_copies_are_not_removed_while_another_worker_of_the_container_uses_them(hub):
    hub.add("models--a--one", {"a.bin": b"a"})
    hub.open_view()
    hub.copy()
    file = os.open(hub.local / ".lock", os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_SH)
    hub.end_process()
    hub.hot = []
    hub.open_view()
    assert models.repositories(str(hub.local)) == ["models--a--one"]
    os.close(file)


def test_the_rest_of_an_interrupted_copy_is_removed(hub):
    hub.open_view()
    hub.end_process()
    (hub.local / ".partial-1").write_bytes(b"x")
    hub.open_view()
    assert not (hub.local / ".partial-1").exists()


def test_a_repository_that_a_job_downloads_is_moved_to_the_hub(hub):
    link = hub.open_view()
    new = Hub.write(os.path.join(link, "models--a--new"), {"config.json": b"{}"})
    assert os.path.realpath(new).startswith(str(hub.views))
    hub.refresh()
    assert (hub.folder / "models--a--new/snapshots" / REVISION / "config.json").read_bytes() == b"{}"
    assert hub.read("models--a--new", "config.json") == b"{}"
    assert os.path.islink(os.path.join(os.readlink(link), "models--a--new"))


def test_a_repository_that_two_containers_downloaded_has_the_files_of_both(hub):
    link = hub.open_view()
    hub.add("models--a--new", {"a.txt": b"a", "b.txt": b"b"})
    other = hub.folder / "models--a--new/refs/main"
    other.write_text("0" * 40)
    os.utime(other, (1, 1))
    Hub.write(os.path.join(link, "models--a--new"), {"b.txt": b"b", "c.txt": b"c"}, on_top=True)
    hub.refresh()
    for name in ("a.txt", "b.txt", "c.txt"):
        assert hub.read("models--a--new", name) == name[0].encode()
    assert other.read_text() == REVISION


def test_what_a_killed_container_downloaded_is_moved_to_the_hub_after_an_hour(hub):
    abandoned = hub.views / "abandoned"
    Hub.write(str(abandoned / "models--a--new"), {"config.json": b"{}"})
    hub.open_view()
    assert not (hub.folder / "models--a--new").exists()
    os.utime(abandoned, (1, time.time() - 2 * 3600))
    hub.open_view()
    assert hub.read("models--a--new", "config.json") == b"{}"


def test_models_of_other_containers_appear_and_removed_ones_disappear(hub):
    link = hub.open_view()
    hub.add("models--a--one", {"config.json": b"{}"})
    hub.refresh()
    assert hub.read("models--a--one", "config.json") == b"{}"
    models.remove_all({"path": str(hub.folder / "models--a--one")})
    hub.refresh()
    assert os.listdir(link) == [".locks"]


def test_files_and_revisions_that_a_job_adds_to_a_copied_model_are_on_the_volume(hub):
    hub.add("models--a--one", {"config.json": b"{}"})
    link = hub.open_view()
    hub.copy()
    new = "1" * 40
    Hub.write(os.path.join(link, "models--a--one"), {"more.txt": b"more"}, on_top=True)
    Hub.write(os.path.join(link, "models--a--one"), {"sub/other.txt": b"other"}, new, on_top=True)
    hub.refresh()
    snapshots = hub.folder / "models--a--one/snapshots"
    assert (snapshots / REVISION / "more.txt").read_bytes() == b"more"
    assert (snapshots / new / "sub/other.txt").read_bytes() == b"other"
    assert hub.read("models--a--one", "more.txt") == b"more"
    assert hub.read("models--a--one", "sub/other.txt", new) == b"other"
    hub.copy()
    assert not os.path.islink(hub.path("models--a--one", "more.txt"))


def test_a_model_that_runpod_caches_can_be_copied(hub, tmp_path):
    Hub.write(str(tmp_path / "cached"), {"config.json": b"{}"})
    os.symlink(tmp_path / "cached", hub.folder / "models--a--one")
    hub.hot = [{"name": "models--a--one", "revision": REVISION}]
    hub.open_view()
    assert hub.copy()["bytes"] == 2
    assert os.path.realpath(hub.path("models--a--one", "config.json")).startswith(str(hub.local))
    # Libraries create it if it is not a link to a missing folder.
    os.makedirs(os.path.join(hub.local, "hub/models--a--one/.no_exist", REVISION))


def test_a_hot_model_that_was_removed_from_the_volume_is_skipped(hub):
    hub.hot = [{"name": "models--a--gone", "revision": REVISION}]
    hub.open_view()
    assert hub.copy() == {"isDone": True, "isFull": False, "bytes": 0, "problems": []}


def test_lists_models_with_their_sizes_and_local_copies(hub):
    hub.add("models--a--one", {"a.bin": b"a" * 100, "same.bin": b"a" * 100})
    hub.add("models--a--two", {"b.bin": b"b" * 10})
    hub.open_view()
    hub.hot = hub.hot[:1]
    hub.copy()
    args = {**hub.args, "seconds": 10}
    main = len(REVISION)
    assert models.list_models(args) == [
        {"name": "models--a--one", "bytes": 100 + main, "localBytes": 200},
        {"name": "models--a--two", "bytes": 10 + main, "localBytes": 0},
    ]
    assert models.list_models({**args, "seconds": -1})[0]["bytes"] is None


def test_touches_only_folders_that_exist(tmp_path):
    os.utime(tmp_path, (1, 1))
    models.touch({"paths": [str(tmp_path), str(tmp_path / "none")]})
    assert os.stat(tmp_path).st_mtime > 1
    assert not (tmp_path / "none").exists()
