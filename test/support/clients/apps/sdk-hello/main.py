"""The smallest app of SDK 2.0, for benchmarks."""

from runpod import App

app = App("hello")


@app.queue(name="hello", cpu="cpu3c-1-2")
def hello(name: str) -> dict:
    return {"hello": name}
