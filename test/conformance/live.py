"""A session of `rp flash dev` that calls a local endpoint with the real client of SDK 2.0.

    live.py FILE

Environment variables contain the URL of the endpoint. The outcome of each call is written to FILE as JSON.
"""

import json
import sys

import live_app as user
from runpod.apps.targets import LiveTarget

(REPORT,) = sys.argv[1:]

# Endpoints that a session has created already. Their names are those of the resources.
user.app._dev_targets.update({name: LiveTarget(name, name) for name in user.app.resources})


def outcome(call, *args, **kwargs):
    try:
        return {"value": call(*args, **kwargs)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


report = {
    "function": outcome(user.add.remote, 2, b=3),
    "async": outcome(user.later.remote, 1_200_000),
    "none": outcome(user.nothing.remote),
    "exception": outcome(user.broken.remote, "no key"),
    "numbers": outcome(user.shown.remote, [1.0, -0.0, 2**60 + 1, 1e22, {"b": 1, "10": 2, "9": 3}]),
    "not a number": outcome(user.shown.remote, float("nan")),
    "generator": outcome(user.count.remote, 3),
    "empty generator": outcome(user.count.remote, 0),
    "async generator": outcome(user.count_later.remote, 3),
    "stream": outcome(lambda: list(user.count.stream(3))),
    "async stream": outcome(lambda: list(user.count_later.stream(n=2))),
    "init": [outcome(user.model.remote) for _ in range(2)],
    "state": outcome(user.state.remote),
    "nested": outcome(user.outer.remote, 4),
    "spawned": outcome(lambda: user.add.spawn(1, 2).output()),
}

with open(REPORT, "w") as file:
    json.dump(report, file)
