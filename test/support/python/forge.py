"""Lets a job write forged frames to the control socket. Tests insert it before the source of a function."""

import json
import os
import struct
import sys
import threading
import time

READY, CALL, CHUNK, RESULT = 1, 2, 3, 4


def local(function, name):
    """A local variable of a running function of the runner."""
    frame = sys._getframe()
    while frame.f_code.co_name != function:
        frame = frame.f_back
    return frame.f_locals[name]


def scratch():
    return local("main", "output")._directory


def write(data):
    """Writes to the control socket: the only socket with a high descriptor."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd >= 900 and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.write(fd, data)
        except OSError:
            pass


def frame(kind, call, meta, value=b""):
    text = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    body = struct.pack("<I", len(text)) + text + value
    return struct.pack("<IBxxxI", len(body), kind, call) + body


def result(**changes):
    """A RESULT frame of the current call with the value None."""
    meta = {
        "ok": True,
        "error": None,
        "instance": None,
        "instances": 0,
        "lives": False,
        "notes": [],
        "poisoned": None,
        "threads": [],
        "pending": 0,
        "output": False,
        "value": "json",
        "blobs": [4],
    }
    return frame(RESULT, local("serve", "frame").call_id, {**meta, **changes}, b"null")


def call_id():
    return local("serve", "frame").call_id
