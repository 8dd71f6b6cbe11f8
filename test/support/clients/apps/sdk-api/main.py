"""APIs of SDK 2.0, whose artifact contains FastAPI and more."""

from runpod import App, get, init, post

app = App("demo-api")

CPU = "cpu3c-1-2"


@app.api(name="web", cpu=CPU)
class Web:
    @init
    def setup(self):
        self.count = 0

    @get("/count")
    def read(self):
        return {"count": self.count}

    @post("/sum")
    async def add(self, body):
        self.count += 1
        return {"sum": body["a"] + body["b"], "count": self.count}

    @post("/failing")
    def failing(self):
        raise RuntimeError("this route fails")


@app.api(name="asgi", cpu=CPU)
def asgi():
    from fastapi import FastAPI, Request, WebSocket
    from fastapi.responses import StreamingResponse

    server = FastAPI()

    @server.get("/items/{item}")
    def item(item: int):
        return {"item": item}

    @server.get("/stream")
    def stream(count: int = 3):
        return StreamingResponse((f"line {number}\n" for number in range(count)), media_type="text/plain")

    @server.post("/upload")
    async def upload(request: Request):
        return {"size": sum([len(chunk) async for chunk in request.stream()])}

    @server.websocket("/socket")
    async def socket(socket: WebSocket):
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    return server
