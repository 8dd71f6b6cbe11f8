"""Recording which parts of files a process has mapped, and reading them ahead."""

import mmap
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from tetra_volume import readahead
from tetra_volume.readahead import BLOCK, mapped_ranges, read_ranges

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page maps of processes exist on Linux")

CHILD = """
import mmap, sys
kept = []
for path, *pages in (line.split() for line in sys.argv[1:]):
    with open(path, 'rb') as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    data.madvise(mmap.MADV_RANDOM)
    kept.append((data, [data[int(page) * mmap.PAGESIZE] for page in pages]))
print('ready', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process():
    """Starts a process that touches pages of files, given as `path page page …`."""
    started = []

    def start(*files):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout.readline() == "ready\n"
        return child.pid

    yield start
    for child in started:
        child.communicate("")


def make_file(path, blocks):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(os.urandom(blocks * BLOCK))
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            # The kernel maps pages beside the touched one if they are in memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


@linux
def test_the_blocks_that_a_process_has_touched_are_recorded_joined_and_no_others(tmp_path, process):
    per_block = BLOCK // mmap.PAGESIZE
    file = make_file(tmp_path / "lib" / "a.so", 12)
    other = make_file(tmp_path.with_name(tmp_path.name + "-other") / "b.so", 1)
    make_file(tmp_path / "untouched.so", 1)
    pid = process(
        f"{file} 0 {per_block} {5 * per_block + per_block // 2}", f"{other} 0", f"{tmp_path / 'untouched.so'}"
    )
    assert mapped_ranges(pid, str(tmp_path)) == {"lib/a.so": [(0, 2 * BLOCK), (5 * BLOCK, BLOCK)]}


@linux
def test_the_end_of_a_file_that_does_not_fill_a_block_is_recorded(tmp_path, process):
    file = tmp_path / "a.so"
    file.write_bytes(b"x" * (BLOCK + 10))
    pid = process(f"{file} {BLOCK // mmap.PAGESIZE}")
    # The kernel also maps up to 15 pages before this one.
    [(start, length)] = mapped_ranges(pid, str(tmp_path))["a.so"]
    assert start + length == 2 * BLOCK


@linux
def test_a_process_that_has_ended_is_an_error(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(OSError):
        mapped_ranges(child.pid, str(tmp_path))


def test_the_ranges_are_read_within_the_limit_those_of_the_largest_file_first(tmp_path):
    make_file(tmp_path / "large", 4)
    make_file(tmp_path / "small", 1)
    files = [("small", [(0, BLOCK)]), ("large", [(0, BLOCK), (2 * BLOCK, 2 * BLOCK)])]
    assert read_ranges(str(tmp_path), files, 1 << 30) == 4 * BLOCK
    assert read_ranges(str(tmp_path), files, 3 * BLOCK) == 3 * BLOCK
    assert read_ranges(str(tmp_path), files, 0) == 0


def test_files_that_are_missing_shorter_links_or_pipes_are_left_out(tmp_path):
    make_file(tmp_path / "short", 1)
    (tmp_path / "link").symlink_to("short")
    os.mkfifo(tmp_path / "pipe")
    files = [(name, [(0, BLOCK), (BLOCK, BLOCK)]) for name in ("short", "link", "pipe", "missing", "")]
    assert read_ranges(str(tmp_path), files, 1 << 30) == BLOCK


def test_a_cancelled_operation_ends(tmp_path, monkeypatch):
    make_file(tmp_path / "file", 1)
    monkeypatch.setattr(readahead, "progress", Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        read_ranges(str(tmp_path), [("file", [(0, BLOCK)])] * 50, 1 << 30)


def test_nothing_is_read_or_recorded_on_a_local_disk(tmp_path):
    make_file(tmp_path / "file", 1)
    files = [{"path": "file", "ranges": [[0, BLOCK]]}]
    assert not readahead.is_remote(str(tmp_path))
    assert readahead.read({"root": str(tmp_path), "files": files, "limit": 1 << 30}) == 0
    assert readahead.mapped({"pid": os.getpid(), "root": str(tmp_path)}) == []


def test_a_missing_folder_is_not_remote(tmp_path):
    assert not readahead.is_remote(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("kind", "remote"), [("fuse.mfs", True), ("fuse", True), ("nfs4", True), ("ext4", False), ("overlay", False)]
)
def test_network_file_systems_are_recognised_by_their_type(tmp_path, monkeypatch, kind, remote):
    device = os.stat(tmp_path).st_dev
    table = f"1 0 {os.major(device)}:{os.minor(device)} / / rw shared:1 - {kind} source rw\n"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(table)
    monkeypatch.setattr("builtins.open", lambda _, real=open: real(mounts))
    assert readahead.is_remote(str(tmp_path)) is remote
