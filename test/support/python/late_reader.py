"""Copies standard input to standard output, but starts to read only when the writer has exited or is blocked.

    late_reader.py SIZE FIFO

SIZE is the capacity of the pipe on standard input, so that a small output can fill it. The writer writes its process id
to the named pipe FIFO before its output, and is blocked there until the capacity is set.
"""

import array
import fcntl
import os
import sys
import termios
import time

F_SETPIPE_SZ = 1031


def pending_bytes():
    count = array.array("i", [0])
    fcntl.ioctl(0, termios.FIONREAD, count)
    return count[0]


def cpu_time(pid):
    """The CPU time of a process in ticks, or None if it has exited."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[11]) + int(fields[12])


def main():
    fcntl.fcntl(0, F_SETPIPE_SZ, int(sys.argv[1]))
    with open(sys.argv[2]) as writer:
        pid = int(writer.read())
    # Until the writer has exited, or has written something and used no CPU time in 30 checks.
    idle_checks, before = 0, -1
    while idle_checks < 30:
        now = cpu_time(pid)
        if now is None:
            break
        idle_checks = idle_checks + 1 if now == before and pending_bytes() > 0 else 0
        before = now
        time.sleep(0.05)
    while True:
        piece = os.read(0, 1 << 20)
        if not piece:
            break
        sys.stdout.buffer.write(piece)


main()
