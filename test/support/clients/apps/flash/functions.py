"""Queue functions of a Flash app."""

import asyncio
import logging

from library.text import louder
from runpod_flash import Endpoint

CPU = "cpu3c-1-2"


@Endpoint(name="hello", cpu=CPU)
def hello(name="world"):
    return {"hello": name}


@Endpoint(name="shout", cpu=CPU, dependencies=["humanize==4.9.0"], system_dependencies=["tar"])
def shout(text, number=0):
    import humanize

    print(f"shouting {text}")
    return {"text": louder(text), "number": humanize.intword(number)}


@Endpoint(name="drawn", cpu=CPU, system_dependencies=["tree"])
def drawn():
    """Needs a program that the images do not have."""
    import subprocess

    return subprocess.check_output(["tree", "--version"], text=True)


@Endpoint(name="later", cpu=CPU)
async def later(text):
    await asyncio.sleep(0.01)
    return text.upper()


@Endpoint(name="broken", cpu=CPU)
def broken(key):
    logging.getLogger(__name__).warning("looking for %s", key)
    return {}[key]


@Endpoint(name="echo", cpu=CPU)
def echo(value=None):
    """Returns any JSON, also with the keys `error` and `refresh_worker`."""
    return value


@Endpoint(name="opaque", cpu=CPU)
def opaque():
    return object()


@Endpoint(name="counting", cpu=CPU)
def counting(to):
    for number in range(to):
        print(f"counted {number}")
        yield number


running = 0
arrived = asyncio.Event()


@Endpoint(name="meeting", cpu=CPU, max_concurrency=3)
async def meeting(expected):
    """Returns when this many calls run at the same time, or fails after 20 seconds."""
    global running
    running += 1
    try:
        if running >= expected:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), 20)
        return running
    finally:
        running -= 1
        if running == 0:
            arrived.clear()


@Endpoint(name="parallel", cpu=CPU, max_concurrency=2)
def parallel(text):
    """A synchronous function with a concurrency, which Flash's own handler can't run."""
    import os

    return {"text": text, "process": os.getpid()}


@Endpoint(name="relay", cpu=CPU)
async def relay(text):
    """Calls another resource of the app."""
    return {"relayed": await hello(text)}
