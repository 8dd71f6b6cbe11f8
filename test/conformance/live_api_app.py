"""An API of SDK 2.0, as a user writes it: the client sends the text of this file whenever it has changed."""

from runpod import App, get, init, post

app = App("conformance")


@app.api(name="web", cpu="cpu3c-1-2", dependencies=["humanize==4.9.0"])
class Web:
    @init
    def setup(self):
        self.count = 0

    @get("/count")
    def read(self):
        self.count += 1
        return {"count": self.count, "name": __name__}

    @post("/sum")
    async def add(self, body):
        import humanize

        return humanize.intword(body["a"] + body["b"])

    @post("/failing")
    def fail(self):
        raise RuntimeError("this route fails")
