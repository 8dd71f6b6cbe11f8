"""Passes standard input on, but starts to read only after its writer had enough time to end.

The first argument is the size for the pipe, so that a small output fills it too; the second a named pipe that the
writer's process writes its id to before its output: it waits there until the size is set.
"""

import array
import fcntl
import os
import sys
import termios
import time

F_SETPIPE_SZ = 1031


def waiting():
    count = array.array("i", [0])
    fcntl.ioctl(0, termios.FIONREAD, count)
    return count[0]


def work_done(pid):
    """The processor time of the writer, in ticks; None once it is gone."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[11]) + int(fields[12])


def main():
    fcntl.fcntl(0, F_SETPIPE_SZ, int(sys.argv[1]))
    with open(sys.argv[2]) as writer:
        pid = int(writer.read())
    # Something was written, and the writer has ended or is only waiting.
    quiet, before = 0, -1
    while quiet < 30:
        now = work_done(pid)
        if now is None:
            break
        quiet = quiet + 1 if now == before and waiting() > 0 else 0
        before = now
        time.sleep(0.05)
    while True:
        piece = os.read(0, 1 << 20)
        if not piece:
            break
        sys.stdout.buffer.write(piece)


main()
