"""The baseline of the benchmarks: the same work without a worker.

Commands:
    baseline.py echo          sends each frame from descriptor 3 back unchanged
    baseline.py pickle        the same, but unpickles and pickles its only blob
    baseline.py flood PATH    creates a named pipe, and writes 100 MB to it for each byte from descriptor 3
"""

import fcntl
import os
import pickle
import socket
import struct
import sys

HEADER = struct.Struct("<IBxxxI")
BLOCK = b"x" * 65536
BLOCKS = 1600

control = socket.socket(fileno=3)


def receive(size):
    body = bytearray(size)
    view = memoryview(body)
    while view:
        view = view[control.recv_into(view, 0, socket.MSG_WAITALL) :]
    return body


def echo(convert):
    while True:
        header = control.recv(HEADER.size, socket.MSG_WAITALL)
        if len(header) < HEADER.size:
            return
        size, kind, call = HEADER.unpack(header)
        body = convert(receive(size))
        control.sendall(HEADER.pack(len(body), kind, call) + body)


def pickled(body):
    (meta,) = struct.unpack_from("<I", body)
    blob = pickle.dumps(pickle.loads(memoryview(body)[4 + meta :]), 5)
    return bytes(body[: 4 + meta]) + blob


def flood(path):
    os.mkfifo(path)
    os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    pipe = os.open(path, os.O_WRONLY)
    fcntl.fcntl(pipe, 1031, 1 << 20)  # F_SETPIPE_SZ: the same size as in the worker
    control.send(b"r")
    while control.recv(1):
        for _ in range(BLOCKS):
            os.write(pipe, BLOCK)
        control.send(b".")


if sys.argv[1] == "echo":
    echo(lambda body: body)
elif sys.argv[1] == "pickle":
    echo(pickled)
else:
    flood(sys.argv[2])
