"""A FastAPI app behind uvicorn on the Unix socket that is the first argument. Prints `ready` when it listens."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()
stopped = asyncio.Event()


class Numbers(BaseModel):
    a: int
    b: int


@app.post("/sum")
async def add(numbers: Numbers) -> int:
    return numbers.a + numbers.b


@app.post("/files")
async def receive_file(file: UploadFile) -> dict[str, object]:
    digest = hashlib.sha256()
    while part := await file.read(65536):
        digest.update(part)
    return {"size": file.size, "sha256": digest.hexdigest()}


@app.post("/raw")
async def receive_raw(request: Request) -> int:
    return sum([len(part) async for part in request.stream()])


@app.get("/events")
async def events() -> StreamingResponse:
    async def forever() -> AsyncIterator[str]:
        try:
            number = 0
            while True:
                number += 1
                yield f"data: {number}\n\n"
                await asyncio.sleep(0.02)
        finally:
            stopped.set()

    return StreamingResponse(forever(), media_type="text/event-stream")


@app.get("/stopped")
async def wait_until_stopped() -> bool:
    return await stopped.wait()


@app.get("/crash")
async def crash() -> None:
    os._exit(3)


@app.websocket("/socket")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"echo {text}")


class Server(uvicorn.Server):
    async def startup(self, *args: object, **options: object) -> None:
        await super().startup(*args, **options)
        print("ready", flush=True)


Server(uvicorn.Config(app, uds=sys.argv[1], log_level="warning")).run()
