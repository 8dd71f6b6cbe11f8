"""Queues of SDK 2.0."""

import asyncio
import logging

from library.text import louder
from runpod import App

app = App("demo")

CPU = "cpu3c-1-2"


@app.queue(name="hello", cpu=CPU)
def hello(name="world"):
    return {"hello": name}


@app.queue(name="shout", cpu=CPU, dependencies=["humanize==4.9.0"], system_dependencies=["tar"])
def shout(text, number=0):
    import humanize

    print(f"shouting {text}")
    return {"text": louder(text), "number": humanize.intword(number)}


@app.queue(name="drawn", cpu=CPU, system_dependencies=["tree"])
def drawn():
    """Needs a program that the images do not have."""
    import subprocess

    return subprocess.check_output(["tree", "--version"], text=True)


@app.queue(name="later", cpu=CPU)
async def later(text):
    await asyncio.sleep(0.01)
    return text.upper()


@app.queue(name="broken", cpu=CPU)
def broken(key):
    logging.getLogger(__name__).warning("looking for %s", key)
    return {}[key]


@app.queue(name="echo", cpu=CPU)
def echo(value=None):
    """Returns any JSON, also with the keys `error` and `refresh_worker`."""
    return value


@app.queue(name="opaque", cpu=CPU)
def opaque():
    return object()


@app.queue(name="counting", cpu=CPU)
def counting(to):
    for number in range(to):
        print(f"counted {number}")
        yield number


@app.queue(name="ticking", cpu=CPU)
async def ticking(to):
    for number in range(to):
        await asyncio.sleep(0)
        yield {"tick": number}


running = 0
arrived = asyncio.Event()


@app.queue(name="meeting", cpu=CPU, max_concurrency=3)
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


model = None


@app.queue(name="prepared", cpu=CPU)
def prepared(text):
    return f"{model} {text}"


@prepared.init
def load():
    global model
    print("loading the model")
    model = "loaded"


@app.queue(name="unprepared", cpu=CPU)
def unprepared():
    return 42


@unprepared.init
def fail():
    raise RuntimeError("no model here")


@app.queue(name="relay", cpu=CPU)
async def relay(text):
    """Calls another resource of the app."""
    return {"relayed": await hello.remote.aio(text)}
