"""Deferred names, with a small package in place of `runpod_flash`; test/conformance compares them with the real one."""

import asyncio
import inspect
import pickle
import sys

import pytest

from tetra_runner import clients, deferred_flash

PACKAGE = """
__all__ = ["Endpoint", "EndpointJob", "remote", "GpuGroup", "LiveServerless", "LiveLoadBalancer", "PodTemplate"]
def __getattr__(name):
    if name not in __all__:
        raise AttributeError(name)
    from . import names
    return getattr(names, name)
"""

# As much of the real names as tests use. Every decorator shows that it was called.
NAMES = """
import enum

class GpuGroup(enum.Enum):
    ANY = "any"
    ADA_24 = "ADA_24"

class PodTemplate:
    def __init__(self, size): self.size = size

class LiveServerless:
    def __init__(self, *, name, gpus=(), template=None):
        if not all(type(gpu) is GpuGroup for gpu in gpus): raise TypeError(gpus)
        self.name, self.gpus, self.template = name, gpus, template

class LiveLoadBalancer(LiveServerless): pass

class EndpointJob: pass

class Stub:
    def __init__(self, target): self.target = target
    def __call__(self, *args):
        if isinstance(self.target, type): return ("instance of", self.target.__name__, args)
        return self.call(*args)
    async def call(self, *args): return ("called", self.target.__name__, args)

def remote(resource_config, dependencies=None, method=None, path=None, local=False, **options):
    return lambda target: Stub(target)

class Endpoint:
    def __init__(self, name=None, *, id=None, image=None, gpu=None, dependencies=None, max_concurrency=1):
        self.name, self.id, self.gpu = name, id, gpu
        self.routes = []
    def _build_resource_config(self): return LiveServerless(name=self.name)
    def __call__(self, target):
        if self.id: raise ValueError("is a client")
        return Stub(target)
    def _route(self, method, path, data):
        if self.id: return (method, path, data)
        if not path.startswith("/"): raise ValueError("invalid path")
        return lambda function: self.routes.append((method, path)) or function
    def get(self, path, data=None): return self._route("GET", path, data)
    def post(self, path, data=None): return self._route("POST", path, data)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package in a worker of the resource `own`."""
    (tmp_path / "runpod_flash").mkdir()
    (tmp_path / "runpod_flash" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "runpod_flash" / "names.py").write_text(NAMES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setenv("RUNPOD_POD_ID", "worker")
    monkeypatch.setenv("FLASH_RESOURCE_NAME", "own")
    for name in [name for name in sys.modules if name.partition(".")[0] == "runpod_flash"]:
        monkeypatch.delitem(sys.modules, name)
    clients.prepare()
    yield __import__("runpod_flash")
    for name in [name for name in sys.modules if name.partition(".")[0] == "runpod_flash"]:
        del sys.modules[name]


def is_loaded():
    return "runpod_flash.names" in sys.modules


def test_functions_and_classes_of_the_own_resource_are_returned_unchanged(package):
    def function():
        pass

    class Class:
        pass

    decorate = package.Endpoint(name="own", gpu=package.GpuGroup.ADA_24, dependencies=["numpy"], max_concurrency=2)
    for target in (function, Class):
        assert decorate(target) is target
        config = target.__remote_config__
        assert {key: value for key, value in config.items() if key != "resource_config"} == {
            "method": None,
            "path": None,
            "dependencies": ["numpy"],
            "system_dependencies": None,
            "max_concurrency": 2,
        }
    assert not is_loaded()
    assert config["resource_config"].name == "own"
    assert is_loaded()


@pytest.mark.parametrize("name", ["own", "live-own", "own-fb", "live-own-fb"])
def test_prefixes_and_suffixes_of_the_name_do_not_matter(package, name):
    def function():
        pass

    assert package.Endpoint(name)(function) is function
    assert package.remote(package.LiveServerless(name=name))(function) is function
    assert not is_loaded()


def test_the_name_of_a_function_is_the_default(package):
    def own():
        pass

    assert package.Endpoint(gpu=package.GpuGroup.ANY)(own) is own
    assert "max_concurrency" not in own.__remote_config__


def test_a_function_of_another_resource_is_called_by_the_real_package(package):
    def function(x):
        """Its documentation."""

    stub = package.Endpoint(name="other")(function)
    assert inspect.iscoroutinefunction(stub)
    assert (stub.__name__, stub.__doc__, stub.__wrapped__) == ("function", "Its documentation.", function)
    assert stub.__remote_config__["dependencies"] is None
    assert not is_loaded()
    assert asyncio.run(stub(3)) == ("called", "function", (3,))
    assert asyncio.run(stub(4)) == ("called", "function", (4,))


def test_a_class_of_another_resource_is_made_by_the_real_package(package):
    class Class:
        pass

    stub = package.Endpoint(name="other")(Class)
    assert not is_loaded()
    assert stub(1) == ("instance of", "Class", (1,))


def test_handlers_of_routes_are_returned_unchanged_for_all_resources(package):
    def handler():
        pass

    endpoint = package.Endpoint(name="other")
    assert endpoint.post("/x")(handler) is handler
    assert handler.__is_lb_route_handler__
    config = handler.__remote_config__
    assert (config["method"], config["path"], config["is_lb_route_handler"]) == ("POST", "/x", True)
    balanced = package.LiveLoadBalancer(name="other")
    assert package.remote(balanced, method="GET", path="/y")(handler) is handler
    assert handler.__remote_config__["path"] == "/y"
    assert not is_loaded()
    # The real endpoint has the routes as well.
    assert endpoint.routes == [("POST", "/x")]


def test_invalid_or_unusual_uses_are_left_to_the_real_package(package):
    def function():
        pass

    with pytest.raises(ValueError, match="is a client"):
        package.Endpoint(id="abc")(function)
    with pytest.raises(ValueError, match="invalid path"):
        package.Endpoint(name="own").get("x")
    assert package.Endpoint(id="abc").get("/x", {"a": 1}) == ("GET", "/x", {"a": 1})
    resource = package.LiveServerless(name="own")
    for decorate in (
        package.remote(resource, local=True),
        package.remote(resource, method="GET", path="/x"),
        package.remote(resource, ["numpy"]),
        package.remote(package.LiveLoadBalancer(name="own")),
        package.remote(resource_config=object()),
    ):
        assert type(decorate(function)).__name__ == "Stub"


def test_values_can_be_used_like_the_real_ones(package):
    ada = package.GpuGroup.ADA_24
    assert ada is package.GpuGroup.ADA_24
    assert not is_loaded()
    resource = package.LiveServerless(name="own", gpus=[ada], template=package.PodTemplate(20))
    assert resource.gpus[0] is sys.modules["runpod_flash.names"].GpuGroup.ADA_24
    assert resource.template.size == 20
    resource.name = "changed"
    assert deferred_flash.real(resource).name == "changed"
    names = sys.modules["runpod_flash.names"]
    assert ada == names.GpuGroup.ADA_24
    assert names.GpuGroup.ADA_24 == ada  # noqa: SIM300 - the other operand compares
    assert hash(ada) == hash(names.GpuGroup.ADA_24)
    assert (str(ada), repr(ada), f"{ada}", bool(ada)) == (
        "GpuGroup.ADA_24",
        "<GpuGroup.ADA_24: 'ADA_24'>",
        "GpuGroup.ADA_24",
        True,
    )
    assert pickle.loads(pickle.dumps(ada)) is names.GpuGroup.ADA_24


def test_classes_can_be_used_like_the_real_ones(package):
    group = package.GpuGroup
    member = group.ANY
    resource = package.LiveServerless(name="own")
    live = package.LiveServerless
    assert [each.value for each in group] == ["any", "ADA_24"]
    assert (len(group), group["ANY"].value, group("any").value, member in group) == (2, "any", "any", True)
    assert isinstance(member, group)
    assert isinstance(resource, live)
    assert isinstance(resource, package.LiveServerless)
    assert not isinstance(1, live)
    balanced = sys.modules["runpod_flash.names"].LiveLoadBalancer
    assert issubclass(balanced, live)

    class Mine(live):
        pass

    assert Mine.__mro__[1] is sys.modules["runpod_flash.names"].LiveServerless


def test_the_real_class_takes_the_place_of_a_deferred_one_when_it_was_loaded(package):
    list(package.GpuGroup)
    assert package.GpuGroup is sys.modules["runpod_flash.names"].GpuGroup


def test_other_names_are_the_real_ones(package):
    assert package.EndpointJob is sys.modules["runpod_flash.names"].EndpointJob


@pytest.mark.parametrize("missing", ["RUNPOD_POD_ID", "FLASH_RESOURCE_NAME"])
def test_nothing_is_deferred_outside_of_a_worker_of_a_resource(package, monkeypatch, missing):
    del sys.modules["runpod_flash"]
    monkeypatch.delenv("RUNPOD_ENDPOINT_ID", raising=False)
    monkeypatch.delenv(missing)
    package = __import__("runpod_flash")
    assert package.GpuGroup is sys.modules["runpod_flash.names"].GpuGroup


def test_nothing_is_deferred_in_an_unknown_version_of_the_package(package, tmp_path):
    del sys.modules["runpod_flash"]
    (tmp_path / "runpod_flash" / "__init__.py").write_text("from .names import Endpoint\n__all__ = ['Endpoint']")
    package = __import__("runpod_flash")
    assert package.Endpoint is sys.modules["runpod_flash.names"].Endpoint
