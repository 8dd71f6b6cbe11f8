"""Shows the objects of flash_app.py in a worker, with the names of `runpod_flash` deferred or not.

    flash_names.py deferred|real RUNNER

RUNNER is the folder with the package tetra_runner. Prints a report as JSON, which must not depend on the first
argument, except for `loaded`: whether most of the package was loaded by the import of the app.
"""

import asyncio
import inspect
import json
import sys

MODE, RUNNER = sys.argv[1:]

if MODE == "deferred":
    sys.path.insert(0, RUNNER)
    clients = __import__("tetra_runner.clients").clients
    clients.prepare()

app = __import__("flash_app")
flash = __import__("runpod_flash")
report = {"loaded": "runpod_flash.core.resources.serverless" in sys.modules}

DECORATED = ("first", "second", "Counter", "hello", "total", "legacy", "Legacy", "handle")


def config_of(decorated):
    config = dict(decorated.__remote_config__)
    resource = config.pop("resource_config")
    return {
        **config,
        "resource": [resource.__class__.__name__, resource.model_dump(mode="json", exclude={"id"})],
    }


def outcome(call, *args):
    async def run():
        value = call(*args)
        return await value if inspect.isawaitable(value) else value

    try:
        return repr(asyncio.run(run()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


report["flags"] = {
    name: [
        inspect.iscoroutinefunction(getattr(app, name)),
        getattr(getattr(app, name), "__name__", None),
        getattr(getattr(app, name), "__is_lb_route_handler__", None),
    ]
    for name in DECORATED
}
report["configs"] = {name: config_of(getattr(app, name)) for name in DECORATED}
report["types"] = [
    isinstance(app.api, flash.Endpoint),
    isinstance(app.old, flash.LiveServerless),
    isinstance(app.volume, flash.NetworkVolume),
    isinstance(app.GpuGroup.ADA_24, flash.GpuGroup),
    [kind.__name__ for kind in type("Mine", flash.LiveServerless.__mro__[:1], {}).__mro__],
]
report["values"] = [
    str(app.GpuGroup.ADA_24),
    [group.value for group in app.GpuGroup],
    app.GpuGroup("any").name,
    app.GpuGroup.ADA_24 == flash.GpuGroup.ADA_24,
    {app.GpuGroup.ADA_24: 1}[flash.GpuGroup.ADA_24],
    app.CpuInstanceType.CPU3C_1_2 == "cpu3c-1-2",
]
report["endpoints"] = [
    app.client.is_client,
    app.api.is_load_balanced,
    app.api.name,
    [[route["method"], route["path"], route["function_name"]] for route in app.api._routes],
]
# Nothing listens at the address of RunPod's API, so calls of other resources fail.
report["calls"] = {
    "first": outcome(app.first, 1),
    "second": outcome(app.second, 1),
    "Counter": outcome(lambda: app.Counter().add(1)),
    "hello": outcome(app.hello),
    "total": outcome(app.total, 1, 2),
    "legacy": outcome(app.legacy, 3),
    "Legacy": outcome(lambda: app.Legacy().method(3)),
    "handle": outcome(app.handle, 3),
}
print(json.dumps(report, default=str))
