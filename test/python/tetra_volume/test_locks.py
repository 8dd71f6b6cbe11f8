import errno
import os

import pytest

from tetra_volume import locks
from tetra_volume.context import Cancelled
from tetra_volume.operations import OperationError


def acquire(path, lock, mode="exclusive"):
    return locks.acquire({"path": str(path), "lock": lock, "mode": mode})


def release(lock):
    locks.release({"lock": lock})


def test_an_exclusive_lock_excludes_all_others(volume):
    assert acquire(volume / "lock", "first")
    assert not acquire(volume / "lock", "second")
    assert not acquire(volume / "lock", "third", "shared")
    release("first")
    assert acquire(volume / "lock", "fourth")
    release("fourth")


def test_shared_locks_exclude_exclusive_ones(volume):
    assert acquire(volume / "lock", "first", "shared")
    assert acquire(volume / "lock", "second", "shared")
    assert not acquire(volume / "lock", "third")
    release("first")
    release("second")


def test_a_lock_that_was_released_before_it_was_acquired_is_not_held(volume):
    release("early")
    with pytest.raises(Cancelled):
        acquire(volume / "lock", "early")
    assert acquire(volume / "lock", "other")
    release("other")


def test_the_holder_replaces_the_content(volume):
    path = volume / "lock"
    assert acquire(path, "holder")
    locks.write({"lock": "holder", "text": "a long text of the holder"})
    locks.write({"lock": "holder", "text": "short"})
    assert locks.read({"path": str(path)}) == "short"
    os.utime(path, (0, 0))
    locks.touch({"lock": "holder"})
    assert path.stat().st_mtime > 0
    release("holder")


@pytest.mark.parametrize(
    "change", [lambda: locks.write({"lock": "lost", "text": ""}), lambda: locks.touch({"lock": "lost"})]
)
def test_a_lost_lock_can_not_be_changed(volume, change):
    with pytest.raises(OperationError) as caught:
        change()
    assert caught.value.code == "ENOLCK"


def test_a_failing_release_frees_the_lock(volume, monkeypatch):
    assert acquire(volume / "lock", "failing")
    real = os.close

    def close(file):
        real(file)
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError):
        release("failing")
    monkeypatch.undo()
    assert acquire(volume / "lock", "next")
    release("next")


def test_only_the_start_of_a_file_is_read(volume):
    (volume / "lock").write_text("x" * 10_000)
    assert locks.read({"path": str(volume / "lock")}) == "x" * 200
