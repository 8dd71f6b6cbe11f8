"""A client in Python: creates requests with cloudpickle, and loads the results.

    client.py requests       prints a list of requests as JSON
    client.py check          reads the list of responses as JSON from stdin, and prints the problems

Both commands run in separate processes that share nothing with the worker, like a real client.
"""

import base64
import json
import sys

import cloudpickle

CASES = {}


def case(source, check, *args, name="f", **kwargs):
    """Adds a call of `name` in the source; `check` returns whether the loaded result is correct."""
    CASES[f"{len(CASES)}: {source.strip().splitlines()[-1].strip()}"] = (source, check, name, args, kwargs)


def dumps(value):
    return base64.b64encode(cloudpickle.dumps(value)).decode()


class Local:
    """Defined in the client's __main__, so cloudpickle pickles it by value."""

    def __init__(self, size):
        self.size = size

    def double(self):
        return 2 * self.size


case("def f(a, b=0): return a + b", lambda r: r == 3, 1, b=2)
case("def f(x): return x", lambda r: r is None, None)
case(
    "def f(x): return x",
    lambda r: r == {"é": [1, (2, {3}), b"\0\xff", 1.5, 10**40]},
    {"é": [1, (2, {3}), b"\0\xff", 1.5, 10**40]},
)
case("def f(x): return x", lambda r: r == "\udcff", "\udcff")
case("def f(x): return len(x), x", lambda r: r == (5_000_000, b"y" * 5_000_000), b"y" * 5_000_000)
case("def f(g): return g(20)", lambda r: r == 21, lambda n: n + 1)
case("def f(local): return local.double()", lambda r: r == 42, Local(21))
case("def f(cls): return cls(4)", lambda r: r.double() == 8, Local)
case("def f(n):\n    return lambda m: n + m", lambda r: r(2) == 3, 1)
case("def f():\n    yield 1\n    yield 2", lambda r: r == [1, 2])
case("async def f(): return 'async'", lambda r: r == "async")
case(
    """
from __future__ import annotations
import dataclasses
@dataclasses.dataclass
class Point:
    x: int
    y: int = 2
    def total(self): return self.x + self.y
def f(): return [Point(1), Point]
""",
    lambda r: r[0].total() == 3 and r[1](5).total() == 7 and isinstance(r[0], r[1]),
)
case(
    """
import enum
class Color(enum.Enum):
    RED = 1
def f(): return Color.RED
""",
    lambda r: r.name == "RED" and r.value == 1,
)
case(
    """
import typing
class Pair(typing.NamedTuple):
    left: int
    right: str
def f(): return Pair(1, "r")
""",
    lambda r: r.left == 1 and r == (1, "r"),
)
case(
    """
class Failure(Exception):
    def __init__(self, code): super().__init__(code); self.code = code
def f(): return Failure(7)
""",
    lambda r: r.code == 7 and isinstance(r, Exception),
)
case(
    """
from datetime import date
from decimal import Decimal
from pathlib import PurePosixPath
def f(): return date(2030, 1, 2), Decimal("1.10"), PurePosixPath("a/b")
""",
    lambda r: str(r[0]) == "2030-01-02" and str(r[1]) == "1.10" and r[2].name == "b",
)
case("import inspect\ndef f(): return inspect.getsource(f)", lambda r: "inspect.getsource(f)" in r)
case("import sys\ndef f(): return sys.version_info[:2]", lambda r: tuple(r) == tuple(sys.version_info[:2]))
case(
    "import cloudpickle, aiohttp\ndef f(): return cloudpickle.__name__, aiohttp.__name__",
    lambda r: r == ("cloudpickle", "aiohttp"),
)
case(
    """
import multiprocessing
def square(n): return n * n
def f():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, [1, 2, 3])
""",
    lambda r: r == [1, 4, 9],
)


def requests():
    return [
        {
            "input": {
                "function_name": name,
                "function_code": source,
                "args": [dumps(value) for value in args],
                "kwargs": {key: dumps(value) for key, value in kwargs.items()},
                "execution_type": "function",
                "create_new_instance": True,
            }
        }
        for source, _, name, args, kwargs in CASES.values()
    ]


def problems(responses):
    for (title, (_, check, *_)), response in zip(CASES.items(), responses):
        if not response["success"]:
            yield f"{title}: {response['error']}"
        elif not check(cloudpickle.loads(base64.b64decode(response["result"]))):
            yield f"{title}: wrong result"


if sys.argv[1] == "requests":
    print(json.dumps(requests()))
else:
    given = json.load(sys.stdin)
    for problem in problems(given):
        print(problem)
    print(f"{len(given)} of {len(CASES)} responses checked")
