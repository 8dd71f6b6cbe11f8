"""A hub cache in the layout of huggingface_hub, and the operations on it."""

import hashlib
import os

from tetra_volume.models import copies as model_copies
from tetra_volume.models import view as models

REVISION = "c" * 40


def blob_name(name, content):
    """Files with weights are in Git LFS, and named by SHA-256; others by Git's SHA-1."""
    if name.endswith((".safetensors", ".bin")):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    def __init__(self, root):
        self.folder = root / "volume/.hf-cache/hub"
        self.views = root / "volume/.hf-cache/views"
        self.local = root / "disk/models"
        self.hot = []
        self.folder.mkdir(parents=True)

    @property
    def args(self):
        return {"hub": str(self.folder), "views": str(self.views), "local": str(self.local)}

    def add(self, repository, files):
        self.write(str(self.folder / repository), files)
        self.hot.append({"name": repository, "revision": REVISION})

    @staticmethod
    def write(path, files, revision=REVISION, on_top=False):
        """Writes what huggingface_hub would write; returns the path of the repository."""
        os.makedirs(os.path.join(path, "blobs"), exist_ok=True)
        os.makedirs(os.path.join(path, "refs"), exist_ok=True)
        with open(os.path.join(path, "refs", "main"), "w") as file:
            file.write(revision)
        for name, content in files.items():
            blob = os.path.join(path, "blobs", blob_name(name, content))
            with open(blob, "wb") as file:
                file.write(content)
            pointer = os.path.join(path, "snapshots", revision, name)
            os.makedirs(os.path.dirname(pointer), exist_ok=True)
            if not (on_top and os.path.lexists(pointer)):
                os.symlink(os.path.relpath(blob, os.path.dirname(pointer)), pointer)
        return path

    def open_view(self, limit=10**9):
        return models.open_view({**self.args, "hot": self.hot, "limit": limit})

    def refresh(self):
        models.refresh(self.args)

    def copy(self, limit=10**9, seconds=60.0):
        return model_copies.copy({**self.args, "hot": self.hot, "limit": limit, "seconds": seconds})

    def end_process(self):
        """Forgets what a process has in memory, and releases its lock."""
        file = models._in_use.pop(str(self.local), None)
        if file is not None:
            os.close(file)
        model_copies._complete.clear()
        model_copies._skipped.clear()
        model_copies._running.clear()

    def path(self, repository, name, revision=REVISION):
        return os.path.join(self.local, "hub", repository, "snapshots", revision, name)

    def read(self, repository, name, revision=REVISION):
        with open(self.path(repository, name, revision), "rb") as file:
            return file.read()
