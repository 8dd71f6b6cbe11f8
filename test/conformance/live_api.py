"""A session of `rp flash dev` whose API is served by a worker, with the real client of SDK 2.0.

    live_api.py FOLDER URL

The user's module is FOLDER/live_api_app.py. URL is the address of the worker. The outcome of each call is written to
FOLDER/report.json.
"""

import importlib
import json
import linecache
import os
import sys
from pathlib import Path

FOLDER, URL = Path(sys.argv[1]), sys.argv[2]
MODULE = FOLDER / "live_api_app.py"
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True

# The context in which calls go to live endpoints.
os.environ["RUNPOD_DEV_SESSION"] = "1"

import aiohttp
import live_api_app as user
from runpod.apps.targets import LiveTarget

request = aiohttp.ClientSession._request


async def request_to_worker(self, method, url, **options):
    """RunPod's load balancer has the host names of endpoints, and ends HTTPS."""
    assert str(url).startswith("https://live-web."), url
    path = str(url).split("/", 3)[3]
    return await request(self, method, f"{URL}/{path}", **options)


aiohttp.ClientSession._request = request_to_worker
target = LiveTarget("live-web", "web")


def outcome(call, *args, **kwargs):
    try:
        return {"value": call(*args, **kwargs)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def edit(old, new):
    """Saves the module, as an editor does."""
    MODULE.write_text(MODULE.read_text().replace(old, new))
    linecache.clearcache()
    importlib.reload(user)
    attach()


def attach():
    # The endpoint that the session has created for the resource.
    user.app._dev_targets["web"] = target


attach()
report = {
    "post": outcome(lambda: user.Web.post("/sum", {"a": 1_200_000, "b": 3})),
    "get": outcome(lambda: user.Web.get("/count")),
    "again": outcome(lambda: user.Web.get("/count")),
    "exception": outcome(lambda: user.Web.post("/failing")),
    "unknown": outcome(lambda: user.Web.get("/nowhere")),
}
edit("self.count = 0", "self.count = 100")
report["edited"] = outcome(lambda: user.Web.get("/count"))
edit("self.count = 100", "self.count = 1 / 0")
report["broken"] = outcome(lambda: user.Web.get("/count"))
edit("self.count = 1 / 0", "self.count = 100")
report["repaired"] = outcome(lambda: user.Web.get("/count"))

(FOLDER / "report.json").write_text(json.dumps(report))
