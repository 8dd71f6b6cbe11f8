import base64
import errno
import os
import threading

import pytest

from tetra_volume import files, paths, removal


def write(path, text, **options):
    files.write({"path": str(path), "content": base64.b64encode(text.encode()).decode(), **options})


def fails_with(code, act, *args):
    with pytest.raises(OSError) as caught:
        act(*args)
    assert caught.value.errno == code
    return caught.value


def test_a_file_is_written_and_read(volume):
    path = volume / "file"
    write(path, "first, which is longer")
    write(path, "second", mode=0o600)
    assert path.read_text() == "second"
    assert base64.b64decode(files.read({"path": str(path)})) == b"second"


def test_a_new_file_replaces_none(volume):
    write(volume / "file", "own", new=True, mode=0o600)
    assert (volume / "file").stat().st_mode & 0o777 == 0o600
    fails_with(errno.EEXIST, lambda: write(volume / "file", "other", new=True))
    assert (volume / "file").read_text() == "own"


CHANGES = {
    "write": lambda folder: write(folder / "file", "x"),
    "mkdir": lambda folder: files.make_folder({"path": str(folder / "new")}),
    "mkdirs": lambda folder: files.make_folders({"path": str(folder / "new" / "inner")}),
    "symlink": lambda folder: files.symlink({"target": "/", "path": str(folder / "new")}),
    "remove": lambda folder: files.remove({"path": str(folder / "file")}),
    "remove_all": lambda folder: removal.remove_all({"path": str(folder / "file")}),
    "rename": lambda folder: files.rename({"from": str(folder / "file"), "to": str(folder / "new")}),
    "copy": lambda folder: files.copy({"from": str(folder / "file"), "to": str(folder / "new")}),
    "chmod": lambda folder: files.chmod({"path": str(folder / "file"), "mode": 0o777}),
    "mkdtemp": lambda folder: files.make_temporary({"prefix": str(folder / "tmp-")}),
    "probe": lambda folder: files.probe({"path": str(folder)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_change_follows_a_link(volume, outside, change):
    (volume / "link").symlink_to(outside)
    error = fails_with(errno.ELOOP, change, volume / "link")
    assert error.filename == str(volume / "link")


def test_files_that_are_links_pipes_or_have_two_names_are_not_written(volume, outside):
    (volume / "link").symlink_to(outside / "file")
    os.mkfifo(volume / "pipe")
    (volume / "first").write_text("own")
    os.link(volume / "first", volume / "second")
    fails_with(errno.ELOOP, write, volume / "link", "x")
    assert fails_with(errno.ENXIO, write, volume / "pipe", "x")
    fails_with(errno.EMLINK, write, volume / "first", "x")
    assert (volume / "second").read_text() == "own"


def test_reading_a_pipe_does_not_block(volume):
    os.mkfifo(volume / "pipe")
    fails_with(errno.EINVAL, files.read, {"path": str(volume / "pipe")})


def test_an_error_names_the_whole_path(volume):
    path = str(volume / "missing" / "file")
    assert fails_with(errno.ENOENT, files.remove, {"path": path}).filename == str(volume / "missing")
    path = str(volume / "missing")
    assert fails_with(errno.ENOENT, files.remove, {"path": path}).filename == path


def test_stat_describes_files_and_links(volume):
    (volume / "file").write_text("12345")
    (volume / "link").symlink_to("file")
    path = str(volume / "link")
    assert files.stat({"path": path})["type"] == "File"
    assert files.stat({"path": path})["size"] == 5
    assert files.lstat({"path": path})["type"] == "SymbolicLink"
    assert files.read_link({"path": path}) == "file"
    assert files.real_path({"path": path}) == os.path.realpath(volume / "file")
    files.access({"path": path, "readable": True})
    fails_with(errno.ENOENT, files.access, {"path": str(volume / "missing")})
    assert files.list_folder({"path": str(volume)}) == [["file", "File"], ["link", "SymbolicLink"]]
    assert files.statfs({"path": str(volume)})["total"] > 0


def test_a_copy_keeps_the_content(volume):
    (volume / "from").write_bytes(bytes(range(256)) * 8192)
    files.copy({"from": str(volume / "from"), "to": str(volume / "to")})
    assert (volume / "to").read_bytes() == (volume / "from").read_bytes()


def test_folders_are_created_and_renamed(volume):
    files.make_folders({"path": str(volume / "a" / "b")})
    files.make_folders({"path": str(volume / "a" / "b")})
    files.rename({"from": str(volume / "a" / "b"), "to": str(volume / "c")})
    made = files.make_temporary({"prefix": str(volume / "c" / "tmp-")})
    assert os.path.dirname(made) == str(volume / "c")
    assert os.listdir(volume / "c") == [os.path.basename(made)]


def test_a_file_that_two_threads_create_at_once_is_opened_by_both(volume, monkeypatch):
    """As on MooseFS, where open with O_CREAT fails with EEXIST if another host creates the file at the same time."""
    path = volume / "file"
    real_open, planted = os.open, []

    def racing_open(name, flags, mode=0o777, *, dir_fd=None):
        if flags & os.O_CREAT and not planted:
            planted.append(path.write_text(""))
            raise FileExistsError(errno.EEXIST, "File exists", name)
        return real_open(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", racing_open)
    os.close(paths.open_file(str(path), os.O_RDWR | os.O_CREAT))
    assert planted


def test_a_probe_leaves_no_file(volume):
    files.probe({"path": str(volume)})
    assert os.listdir(volume) == []


@pytest.mark.parametrize("failing", ["write", "fsync", "close"])
def test_a_probe_of_a_full_volume_fails_and_leaves_no_file_and_no_descriptor(volume, monkeypatch, failing):
    real, before = getattr(os, failing), len(os.listdir("/proc/self/fd"))

    def fail(file, *args):
        if failing == "close":
            real(file)
            if not stat_is_probe(names.get(file)):
                return
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    names = {}
    real_open = os.open

    def remember(name, *args, **options):
        file = real_open(name, *args, **options)
        names[file] = name
        return file

    def stat_is_probe(name):
        return name is not None and str(name).startswith(".write-probe-")

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(os, failing, fail)
    fails_with(errno.EDQUOT, files.probe, {"path": str(volume)})
    monkeypatch.undo()
    assert os.listdir(volume) == []
    assert len(os.listdir("/proc/self/fd")) == before


class TestRemoval:
    def test_links_are_removed_but_not_followed(self, volume, outside):
        folder = volume / "folder"
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "link").symlink_to(outside)
        (folder / "file").write_text("")
        removal.remove_all({"path": str(folder)})
        (volume / "link").symlink_to(outside)
        removal.remove_all({"path": str(volume / "link")})
        assert os.listdir(volume) == []

    def test_a_very_deep_folder_is_removed(self, volume):
        deep = volume / "deep"
        os.makedirs(os.path.join(deep, *["x"] * 200))
        removal.remove_all({"path": str(deep)})
        assert os.listdir(volume) == []

    def test_another_file_system_is_not_entered(self, volume, monkeypatch):
        (volume / "folder" / "mounted").mkdir(parents=True)
        check = removal._Removal.check_device

        def check_device(self, folder, shown):
            if shown == "mounted":
                raise OSError(errno.EXDEV, "another file system is mounted there", shown)
            check(self, folder, shown)

        monkeypatch.setattr(removal._Removal, "check_device", check_device)
        fails_with(errno.EXDEV, removal.remove_all, {"path": str(volume / "folder")})

    def test_files_that_are_written_meanwhile_are_removed_too(self, volume):
        folder = volume / "folder"
        folder.mkdir()
        done = threading.Event()

        def keep_writing():
            for number in range(200):
                try:
                    (folder / str(number)).write_text("")
                except OSError:
                    break
            done.set()

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            removal.remove_all({"path": str(folder)})
        except OSError as error:
            assert error.errno == errno.ENOTEMPTY
        writer.join()
        if folder.exists():
            removal.remove_all({"path": str(folder)})
        assert os.listdir(volume) == []
