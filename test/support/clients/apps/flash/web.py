"""A load-balanced resource of a Flash app."""

import hashlib

from pydantic import BaseModel
from runpod_flash import Endpoint

web = Endpoint(name="web", cpu="cpu3c-1-2")


class Order(BaseModel):
    article: str
    amount: int = 1


@web.get("/items/{item}")
async def item(item: int, plural: bool = False):
    return {"item": item, "plural": plural}


@web.post("/sum")
def add(a: int, b: int = 0):
    return {"sum": a + b}


@web.put("/shelves/{shelf}")
async def put(shelf: str, count: int):
    return {"shelf": shelf, "count": count}


@web.post("/orders")
async def order(order: Order):
    return {"ordered": [order.article] * order.amount}


@web.post("/files")
async def upload(data: bytes, name: str = "unnamed"):
    return {"name": name, "size": len(data), "hash": hashlib.sha256(data).hexdigest()}


@web.get("/stream")
async def stream(count: int = 3):
    from starlette.responses import StreamingResponse

    async def lines():
        for number in range(count):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@web.get("/failing")
def failing():
    raise RuntimeError("this route fails")
