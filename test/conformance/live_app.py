"""A module of SDK 2.0, as a user writes it: the client sends the text of this file with each call."""

import asyncio
import sys

from runpod import App, GpuType

app = App("conformance")
loads = []
main_ran = False


@app.queue(name="add", gpu=GpuType.NVIDIA_L4)
def add(a, b=0):
    print("adding", a, "and", b)
    return a + b


@app.queue(name="later", cpu="cpu3c-1-2", dependencies=["humanize==4.9.0"])
async def later(number):
    import humanize

    await asyncio.sleep(0.01)
    return humanize.intword(number)


@app.queue(name="shown")
def shown(value):
    return repr(value)


@app.queue(name="count")
def count(n):
    for i in range(n):
        yield {"i": i}


@app.queue(name="count_later")
async def count_later(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@app.queue(name="nothing")
def nothing():
    return None


@app.queue(name="broken")
def broken(key):
    return {}[key]


@app.queue(name="model")
def model():
    return loads


@model.init
def load():
    loads.append("loaded")


@app.queue(name="state")
def state():
    return {"name": __name__, "main_ran": main_ran, "aiohttp": hasattr(sys.modules["aiohttp"], "__deferred__")}


@app.queue(name="outer")
def outer(x):
    # A call of a sibling ships the text of this module again; a call of this resource itself runs here.
    return [add.remote(x, 1), inner_of_outer(x), outer_again.remote(x)]


def inner_of_outer(x):
    return x * 10


@app.queue(name="outer_again")
def outer_again(x):
    return add.remote(x, b=2)


class Greeter:
    """Not a resource."""

    def greet(self):
        return "hello"


if __name__ == "__main__":
    main_ran = True
