import http.client
import os
import signal
import socket
import sys
import threading
import types

import pytest

from tetra_runner import errors
from tetra_runner.apps.app import StartError, serve_source


class Client(http.client.HTTPConnection):
    """Sends requests to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def fetch(self, method, path, body=None, headers=None):
        self.request(method, path, body, headers or {})
        response = self.getresponse()
        return response.status, response.read().decode()


@pytest.fixture
def served(tmp_path):
    """Runs a server in this thread, and `use(client)` in another one when it is ready; returns its result."""

    def served(serve, use, cancel=True):
        path = str(tmp_path / "app.sock")
        results = []

        def run():
            try:
                results.append(use(Client(path)))
            finally:
                if cancel:
                    os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=run)
        serve(path, thread.start)
        thread.join()
        return results[0]

    return served


FASTAPI = """
    from fastapi import FastAPI
    app = FastAPI()
    @app.get("/hello")
    def hello(name: str = "you"): return f"hello {name}"
"""


def test_the_application_of_the_handler_file_is_served(write, deployed, served):
    write(handler_res=FASTAPI)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    assert app.open() == {"overlaps": False, "isSingleton": True, "systemDependencies": []}
    handler = signal.getsignal(signal.SIGINT)

    def use(client):
        return [client.fetch("GET", path) for path in ("/hello?name=me", "/hello", "/nothing")]

    assert served(app.serve, use) == [
        (200, '"hello me"'),
        (200, '"hello you"'),
        (404, '{"detail":"Not Found"}'),
    ]
    assert signal.getsignal(signal.SIGINT) is handler


def test_headers_that_the_worker_adds_are_not_sent(write, deployed, served):
    write(handler_res=FASTAPI)

    def use(client):
        client.request("GET", "/hello")
        return dict(client.getresponse().getheaders())

    app = deployed("flash", kind="api", handler_file="handler_res.py")
    assert served(app.serve, use) == {"content-length": "11", "content-type": "application/json"}


PLAIN = """
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr((scope["client"], scope["scheme"])).encode()})
"""


def test_an_application_without_lifespan_events_is_served(write, deployed, served):
    write(handler_res=PLAIN)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    headers = {"X-Forwarded-For": "10.0.0.9", "X-Forwarded-Proto": "https"}
    answer = served(app.serve, lambda client: client.fetch("GET", "/", headers=headers))
    assert answer == (200, "(('10.0.0.9', 0), 'https')")


LIFESPAN = """
    from contextlib import asynccontextmanager
    from fastapi import FastAPI
    events = []
    @asynccontextmanager
    async def lifespan(app):
        {}
        events.append("startup")
        yield
        events.append("shutdown")
    app = FastAPI(lifespan=lifespan)
    @app.get("/events")
    def get(): return events
"""


def test_startup_is_complete_before_ready_and_shutdown_follows_the_cancel(write, deployed, served):
    write(handler_res=LIFESPAN.format("pass"))
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    assert served(app.serve, lambda client: client.fetch("GET", "/events")) == (200, '["startup"]')
    assert sys.modules["handler_res"].events == ["startup", "shutdown"]


def not_ready():
    raise AssertionError("the server is not ready")


def test_a_failed_startup_is_a_start_error(folder, write, deployed):
    write(handler_res=LIFESPAN.format("raise LookupError('no model')"))
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    with pytest.raises(StartError) as caught:
        app.serve(str(folder / "app.sock"), not_ready)
    assert (caught.value.phase, str(caught.value)) == ("construct", "no model")
    assert isinstance(caught.value.cause, LookupError)
    assert "handler_res.py" in errors.describe(caught.value.cause)["traceback"]


SILENT = """
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed"})
"""


def test_a_failed_startup_without_an_exception_is_a_start_error(folder, write, deployed):
    write(handler_res=SILENT)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    with pytest.raises(StartError, match="startup of the ASGI application failed"):
        app.serve(str(folder / "app.sock"), not_ready)


CANCELLED_IN_A_REQUEST = """
    import asyncio, os, signal
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        os.kill(os.getpid(), signal.SIGINT)
        while await accepts_connections(__file__.replace("handler_res.py", "app.sock")):
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"finished"})
    async def accepts_connections(path):
        try:
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()
            return True
        except OSError:
            return False
"""


def test_an_open_request_is_finished_after_a_cancel(write, deployed, served):
    write(handler_res=CANCELLED_IN_A_REQUEST)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    assert served(app.serve, lambda client: client.fetch("GET", "/"), cancel=False) == (200, "finished")


CANCELLED_TWICE = """
    import os, signal
    async def app(scope, receive, send):
        if scope["type"] == "http":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})
"""


def test_the_second_signal_goes_to_the_handler_of_the_runner(write, deployed, served):
    write(handler_res=CANCELLED_TWICE)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    received = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        served(app.serve, lambda client: client.fetch("GET", "/"), cancel=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


def test_a_missing_server_is_named_by_open_so_that_it_can_be_installed(write, deployed, monkeypatch):
    write(handler_res=FASTAPI)
    app = deployed("flash", kind="api", handler_file="handler_res.py")
    error = ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    def missing(_):
        raise error

    monkeypatch.setattr("tetra_runner.apps.http.import_module", missing)
    with pytest.raises(StartError) as caught:
        app.open()
    assert (caught.value.phase, caught.value.missing) == ("import", "nowhere")


def test_a_queue_cannot_be_served(write, deployed):
    write(main="def f(): ...")
    with pytest.raises(TypeError, match="'res' is a queue"):
        deployed("flash", "main:f").serve("/nowhere.sock", not_ready)


def route(method, path, handler_name):
    return types.SimpleNamespace(method=method, path=path, handler_name=handler_name)


class Calculator:
    def setup(self):
        self.total = 0

    async def setup_async(self):
        self.setup()

    def add(self, numbers):
        """Adds."""
        self.total += sum(numbers)
        return {"total": self.total, "thread": threading.current_thread() is threading.main_thread()}

    async def state(self):
        return {"total": self.total, "thread": threading.current_thread() is threading.main_thread()}

    def later(self):
        return self.state()


def api(name="calc", cls=Calculator, init="setup", factory=None):
    """An object like an ApiHandle of the `runpod` package."""
    routes = [route("POST", "/add", "add"), route("GET", "/state", "state"), route("PUT", "/later", "later")]
    spec = types.SimpleNamespace(name=name, kind="api", routes=routes)
    return types.SimpleNamespace(spec=spec, _cls=cls, _init_name=init, _asgi_factory=factory, __name__=name)


@pytest.fixture
def source():
    """A module like one whose source a client sent, with objects of an API."""

    def source(**names):
        module = types.ModuleType("__runpod_live__")
        vars(module).update(names)
        return module

    return source


@pytest.mark.parametrize("init", ["setup", "setup_async"])
def test_the_methods_of_an_api_class_are_served(source, served, init):
    module = source(calc=api(init=init), other=api("other"))

    def use(client):
        return [
            client.fetch("POST", "/add", "[1, 2]"),
            client.fetch("POST", "/add", "[3]"),
            client.fetch("GET", "/state"),
            client.fetch("PUT", "/later"),
        ]

    assert served(lambda path, ready: serve_source(module, "calc", path, ready), use) == [
        (200, '{"total":3,"thread":false}'),
        (200, '{"total":6,"thread":false}'),
        (200, '{"total":6,"thread":true}'),
        (200, '{"total":6,"thread":true}'),
    ]


def test_requests_that_do_not_fit_a_route_are_refused(source, served):
    module = source(calc=api())

    def use(client):
        return [
            client.fetch("POST", "/add", "[1, 2"),
            client.fetch("POST", "/add"),
            client.fetch("GET", "/state", "{}"),
            client.fetch("GET", "/add"),
            client.fetch("GET", "/nothing"),
            client.fetch("POST", "/add", "[" * 100_000),
        ]

    answers = served(lambda path, ready: serve_source(module, "calc", path, ready), use)
    assert [status for status, _ in answers] == [422, 422, 422, 405, 404, 422]
    assert "The body is not valid JSON" in answers[0][1]
    assert "This route requires a JSON body" in answers[1][1]
    assert "This route does not accept a body" in answers[2][1]
    assert answers[4][1] == '{"detail":"Not Found"}'


async def plain(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"plain"})


async def make_plain():
    return plain


@pytest.mark.parametrize("factory", [lambda: plain, make_plain])
def test_the_application_of_a_factory_is_served(source, served, factory):
    module = source(web=api(cls=None, factory=factory))
    answer = served(
        lambda path, ready: serve_source(module, "calc", path, ready), lambda client: client.fetch("GET", "/")
    )
    assert answer == (200, "plain")


@pytest.mark.parametrize(
    ("handle", "phase", "message"),
    [
        (api(cls=None, factory=lambda: None), "construct", "calc() returned a value of type NoneType, not an ASGI"),
        (api(cls=lambda: 1 / 0), "construct", "division by zero"),
        (api("other"), "import", "does not define a resource named 'calc'; it defines: other"),
    ],
)
def test_an_api_that_cannot_be_constructed_is_a_start_error(source, handle, phase, message):
    with pytest.raises(StartError) as caught:
        serve_source(source(handle=handle), "calc", "/nowhere.sock", not_ready)
    assert caught.value.phase == phase
    assert message in str(caught.value.cause)


def test_a_deployed_api_is_constructed_by_open_and_then_served(write, deployed, served):
    write(main="import sys\ncalc = sys.modules['test_http'].api()")
    app = deployed("sdk", "main:Calc", kind="api", name="calc")
    assert app.open() == {"overlaps": False, "isSingleton": True, "systemDependencies": []}
    assert served(app.serve, lambda client: client.fetch("POST", "/add", "[4]"))[1].startswith('{"total":4')
