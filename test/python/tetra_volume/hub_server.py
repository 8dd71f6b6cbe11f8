"""A model hub on the loopback interface: one repository, as huggingface_hub asks for it."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hub_cache import REVISION, blob_name


def tree_entry(name, content):
    entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if name.endswith(".safetensors"):
        return {**entry, "lfs": {"oid": blob_name(name, content), "size": len(content), "pointerSize": 134}}
    return {**entry, "oid": blob_name(name, content)}


@contextmanager
def hub_server(repository, files):
    """Yields the URL and the list of files that were downloaded."""
    downloads = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def _answer(self, status, content=b"", headers=()):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self):
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{repository}/tree/"):
                self._answer(200, json.dumps([tree_entry(*file) for file in files.items()]).encode())
                return
            if path.startswith(f"/api/models/{repository}"):
                siblings = [{"rfilename": name} for name in files]
                info = {"id": repository, "sha": REVISION, "siblings": siblings, "private": False}
                self._answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
                return
            name = path.removeprefix(f"/{repository}/resolve/").partition("/")[2]
            if name not in files:
                self._answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})
                return
            content = files[name]
            if self.command == "GET":
                downloads.append(name)
            etag = {"X-Linked-Etag" if name.endswith(".safetensors") else "ETag": f'"{blob_name(name, content)}"'}
            etag.setdefault("ETag", '"of-the-storage"')
            size = {"X-Linked-Size": str(len(content))}
            self._answer(200, content, {**etag, **size, "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"})

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", downloads
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
