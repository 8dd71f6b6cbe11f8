"""Calls the resources of a deployed app as its author does: by importing the modules of the app.

    deployed.py flash|sdk APP FILE

The client sends the calls to the endpoint in RUNPOD_ENDPOINT_BASE_URL, because the app counts as deployed. The outcome
of each call is written to FILE as JSON.
"""

import asyncio
import importlib
import json
import os
import sys
import tempfile

client, app, report = sys.argv[1:]

# For Flash: there is no account, and the app is deployed.
os.environ.update(FLASH_APP="app", FLASH_ENV="production", RUNPOD_URL_MIXED_OK="1")
sys.path.insert(0, app)
# The clients write files to the current directory.
os.chdir(tempfile.mkdtemp())


async def outcome(call):
    try:
        return {"value": await call}
    except Exception as error:
        return {"error": str(error)}


async def collected(stream):
    return [value async for value in stream]


async def outcomes(calls):
    """One after the other, because instances keep state."""
    return [await outcome(call) for call in calls]


async def flash():
    functions = importlib.import_module("functions")
    classes = importlib.import_module("classes")
    tally, shelf = classes.Tally(), classes.Shelf()
    return {
        "hello": await outcome(functions.hello("you")),
        "default": await outcome(functions.hello()),
        "shout": await outcome(functions.shout("hey", number=1_200_000)),
        "async": await outcome(functions.later("soon")),
        "exception": await outcome(functions.broken("no key")),
        "relay": await outcome(functions.relay("friend")),
        "generator": await outcome(functions.counting(3)),
        "together": await asyncio.gather(*(outcome(functions.meeting(3)) for _ in range(3))),
        "class": await outcomes([tally.add(5), tally.add(2), tally.add()]),
        "methods": await outcomes([shelf.put("a", 1), shelf.get("a"), shelf.get("b")]),
        "constructor": await outcome(classes.Unbuildable().answer()),
    }


async def sdk():
    main = importlib.import_module("main")
    return {
        "hello": await outcome(main.hello.remote.aio("you")),
        "default": await outcome(main.hello.remote.aio()),
        "shout": await outcome(main.shout.remote.aio("hey", number=1_200_000)),
        "async": await outcome(main.later.remote.aio("soon")),
        "exception": await outcome(main.broken.remote.aio("no key")),
        "relay": await outcome(main.relay.remote.aio("friend")),
        "generator": await outcome(main.counting.remote.aio(3)),
        "stream": await outcome(collected(main.ticking.stream.aio(3))),
        "together": await asyncio.gather(*(outcome(main.meeting.remote.aio(3)) for _ in range(3))),
        "init": await outcome(main.prepared.remote.aio("model")),
        "failed init": await outcome(main.unprepared.remote.aio()),
    }


with open(report, "w") as file:
    json.dump(asyncio.run({"flash": flash, "sdk": sdk}[client]()), file)
