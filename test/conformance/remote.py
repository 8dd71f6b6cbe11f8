"""A user's script that calls a local endpoint with a real client library.

    remote.py runpod_flash|tetra_rp FILE

Environment variables contain the URL of the endpoint. The outcome of each call is written to FILE as JSON; the output
of the client library goes to stdout.
"""

import asyncio
import importlib
import json
import os
import sys
import tempfile
import warnings

NAME, REPORT = sys.argv[1:]

# There is no account and no cloud: these settings make the libraries treat the endpoint as already deployed.
os.environ.update(
    FLASH_IS_LIVE_PROVISIONING="true",
    RUNPOD_URL_MIXED_OK="1",
    RUNPOD_API_BASE_URL="http://127.0.0.1:9",
    RUNPOD_HAPI_URL="http://127.0.0.1:9",
    RUNPOD_REST_API_URL="http://127.0.0.1:9",
)
# They write files to the current directory.
os.chdir(tempfile.mkdtemp())
warnings.simplefilter("ignore")

client = importlib.import_module(NAME)
manager = importlib.import_module(f"{NAME}.core.resources").ResourceManager()
remote = client.remote
IS_FLASH = NAME == "runpod_flash"


def deployed(name):
    """An endpoint that the library considers deployed."""
    config = client.LiveServerless(name=name)
    config.id = name
    key = config.get_resource_key() if hasattr(config, "get_resource_key") else config.resource_id
    manager._resources[key] = config
    if hasattr(manager, "_resource_configs"):
        manager._resource_configs[key] = config.config_hash
    return config


one, other = deployed("one"), deployed("other")


@remote(one)
def add(a, b=0):
    print("adding", a, "and", b)
    return a + b


@remote(one)
async def later(word):
    import asyncio

    await asyncio.sleep(0.01)
    return word.upper()


@remote(one, dependencies=["humanize==4.9.0"])
def spelled(number):
    import humanize

    return humanize.intword(number)


@remote(one)
def broken(key):
    return {}[key]


@remote(one)
def size(data):
    return len(data)


@remote(one)
def nothing():
    return None


@remote(other)
def inner(x):
    return x * 10


@remote(one)
async def outer(x):
    return await inner(x) + 1


@remote(one)
class Counter:
    def __init__(self, start):
        self.count = start

    def add(self, n):
        self.count += n
        return self.count


@remote(one)
def measured(width, height):
    from shapes import area

    return area(width, height)


def balanced(a, b):
    return [a, b]


class Server:
    """A load-balanced endpoint like the library's own class, which can't point to this machine."""

    name = "balanced"
    endpoint_url = os.environ["RUNPOD_ENDPOINT_BASE_URL"].removesuffix("/v2")


async def outcome(call):
    try:
        return {"value": await call}
    except Exception as error:
        return {"error": str(error)}


async def main():
    report = {
        "function": await outcome(add(2, b=3)),
        "async": await outcome(later("soon")),
        "none": await outcome(nothing()),
        "dependencies": await outcome(spelled(1_200_000)),
        "exception": await outcome(broken("no key")),
        "large": await outcome(size(os.urandom(5_000_000))),
    }
    counter = Counter(10)
    report["class"] = [await outcome(counter.add(n)) for n in (5, 2, 1)]
    report["together"] = [each["value"] for each in await asyncio.gather(*(outcome(add(n, n)) for n in range(5)))]
    if IS_FLASH:
        report["nested"] = await outcome(outer(4))
        report["modules"] = await outcome(measured(3, 4))
        stub = importlib.import_module("runpod_flash.stubs.load_balancer_sls").LoadBalancerSlsStub(Server())
        report["balanced"] = await outcome(stub(balanced, None, None, True, 1, b=2))
    with open(REPORT, "w") as file:
        json.dump(report, file)


asyncio.run(main())
