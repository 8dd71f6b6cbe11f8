"""The golden messages in test/runner/golden, which the tests of Node and of the runner read.

Each file contains the type of a frame, its sender, the number of its call, its metadata and blobs, and the complete
frame as base64. `python3 test/python/tetra_runner/golden.py` updates the frames after a change of metadata.
"""

import base64
import json
import struct
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "test" / "runner" / "golden"
TYPES = {
    "ready": 1,
    "call": 2,
    "chunk": 3,
    "result": 4,
    "bye": 5,
    "cancel": 6,
    "output": 7,
    "config": 8,
    "imports": 9,
    "imported": 10,
}


class Message:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        self.fields = json.loads(path.read_text())
        self.type = self.fields["type"]
        self.sender = self.fields["from"]
        self.call = self.fields["call"]
        self.meta = self.fields["meta"]
        self.blobs = [blob.encode() for blob in self.fields["blobs"]]
        self.frame = base64.b64decode(self.fields["frame"])

    def expected_frame(self):
        return frame_of(self.type, self.call, self.meta, b"".join(self.blobs))


# The configuration of the runner.
CONFIG = json.loads((FOLDER.parent / "golden-config.json").read_text())
LIVE_CONFIG = {key: value for key, value in CONFIG.items() if key != "app"}


def frame_of(kind, call, meta, blobs=b""):
    """A frame according to the description of the format, without code of Node or the runner."""
    text = json.dumps(meta, separators=(",", ":")).encode()
    body = struct.pack("<I", len(text)) + text + blobs
    return struct.pack("<IBxxxI", len(body), TYPES[kind], call) + body


MESSAGES = [Message(path) for path in sorted(FOLDER.glob("*.json"))]


def main():
    for message in MESSAGES:
        message.fields["frame"] = base64.b64encode(message.expected_frame()).decode()
        message.path.write_text(json.dumps(message.fields, indent=2) + "\n")


if __name__ == "__main__":
    main()
